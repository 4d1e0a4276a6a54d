// Node as the page, which needs EventSource: node --experimental-eventsource node.mjs '{"modules": ..., "baseUrl": ...}'
import { createRequire } from "node:module";
import { follow } from "./follow.mjs";

const order = JSON.parse(process.argv[2]);
const require = createRequire(`${order.modules}/`);
const tell = (told) => console.log(JSON.stringify(told));
await follow(require("@openfeature/web-sdk"), require("@openfeature/ofrep-web-provider"), order, tell);
