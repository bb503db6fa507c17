// SPDX-License-Identifier: Apache-2.0
//
// Verifies messages with the reference library of Standard Webhooks, as a receiver would. Reads
// {"secret", "headers", "body"} as JSON from standard input, one a line; answers each with a line:
// "ok", or what the library said. The library is found through NODE_PATH.
const { Webhook } = require("standardwebhooks");
const lines = require("readline").createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const { secret, headers, body } = JSON.parse(line);
  try {
    new Webhook(secret).verify(body, headers);
    console.log("ok");
  } catch (error) {
    console.log(`${error.name}: ${error.message}`);
  }
});
