// SPDX-License-Identifier: Apache-2.0
// Follows one job with npm's eventsource, and prints what it got, one JSON line an event, until the last one.
// usage: node follow.js URL KEY
"use strict";
const { EventSource } = require("eventsource");
const [url, key] = process.argv.slice(2);
const source = new EventSource(url, {
  fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, Authorization: `Bearer ${key}` } }),
});
for (const name of ["position", "started", "progress", "preview", "missed", "complete", "error"]) {
  source.addEventListener(name, (event) => {
    if (event.data === undefined) {  // of the connection, not of the job
      return;
    }
    console.log(JSON.stringify({ name, id: event.lastEventId, data: JSON.parse(event.data) }));
    if (name === "complete" || name === "error") {
      source.close();
    }
  });
}
