// What a page does with the unmodified official SDK and web provider: evaluates flags, changes its context, and follows
// the stream of changes. Each step is told with what flags gave, and with what was asked over HTTP since the last one.
export async function follow({ OpenFeature, ProviderEvents }, { OFREPWebProvider }, order, tell) {
  const { baseUrl, headers, calls, context, later } = order;
  let asked = [];
  const client = OpenFeature.getClient();

  function report(step) {
    const details = calls.map(([type, key, fallback]) => client[`get${type}Details`](key, fallback));
    tell({ step, asked, details });
    asked = [];
  }

  async function fetchImplementation(request, options) {
    const answer = await fetch(request, options);
    const search = Object.fromEntries(new URL(request.url).searchParams);
    asked.push({ status: answer.status, search, known: request.headers.get("if-none-match") });
    return answer;
  }

  client.addHandler(ProviderEvents.ConfigurationChanged, ({ flagsChanged }) => report({ changed: flagsChanged }));
  await OpenFeature.setContext(context);
  await OpenFeature.setProviderAndWait(new OFREPWebProvider({ baseUrl, headers, fetchImplementation }));
  report("started");
  await OpenFeature.setContext({ ...context, ...later });
  while (!asked.length) await new Promise((resolve) => setTimeout(resolve, 20)); // from a cache, it asks afterwards
  report("context");
}
