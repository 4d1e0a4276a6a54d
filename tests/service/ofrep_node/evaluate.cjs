// Evaluates flags with the unmodified official SDK and provider, and prints the details of each.
// node evaluate.cjs '{"baseUrl": ..., "headers": [["X-API-Key", ...]], "calls": [["Boolean", key, fallback, context], ...]}'
"use strict";
const { OpenFeature } = require("@openfeature/server-sdk");
const { OFREPProvider } = require("@openfeature/ofrep-provider");

async function main() {
  const { baseUrl, headers, calls } = JSON.parse(process.argv[2]);
  await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl, headers }));
  const client = OpenFeature.getClient();
  const details = [];
  for (const [type, key, fallback, context] of calls) {
    details.push(await client[`get${type}Details`](key, fallback, context));
  }
  console.log(JSON.stringify(details));
  await OpenFeature.close();
}

main();
