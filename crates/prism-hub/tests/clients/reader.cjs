'use strict';

// Reads an event stream with eventsource, and prints each event as a line of JSON.

const { EventSource } = require('eventsource');

const [url, ...names] = process.argv.slice(2);

const say = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);

const source = new EventSource(url);
source.onopen = () => say({ event: 'open' });
for (const name of names) {
  source.addEventListener(name, ({ data, lastEventId }) => {
    say({ event: name, data, id: lastEventId });
  });
}
