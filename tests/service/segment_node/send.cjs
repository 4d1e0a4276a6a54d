// Sends events with the unmodified official client, and prints what it was answered and what it could not deliver.
// node send.cjs '{"host": ..., "writeKey": ..., "settings": {...}, "calls": [["track", {...}], ...]}'
"use strict";
const { Analytics } = require("@segment/analytics-node");

async function main() {
  const { host, writeKey, settings, calls } = JSON.parse(process.argv[2]);
  const analytics = new Analytics({ host, writeKey, ...settings });
  const statuses = [];
  const failed = [];
  analytics.on("http_response", (response) => statuses.push(response.status));
  analytics.on("error", (error) => failed.push(String(error.reason ?? error)));
  for (const [kind, message] of calls) {
    if (message.timestamp) message.timestamp = new Date(message.timestamp);
    analytics[kind](message);
  }
  await analytics.closeAndFlush();
  console.log(JSON.stringify({ statuses, failed }));
}

main();
