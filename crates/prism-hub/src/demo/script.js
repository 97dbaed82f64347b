'use strict';

const byId = (id) => document.getElementById(id);
const clock = (time) => time.toLocaleTimeString([], { hour12: false });
const hub = new URL('/events', location.href);

/** Every line of curl on this page, and the request that its button makes, say the same. */
function curl(fields) {
  const quote = (text) => (/^[\w./@:=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);
  // `--data-urlencode` where `-d` would send something else.
  const flag = (value) => (/[&+%\n]/.test(value) ? '--data-urlencode' : '-d');
  const parts = fields.map(([name, value]) => `${flag(value)} ${quote(`${name}=${value}`)}`);
  return `curl ${hub} ${parts.join(' ')}`;
}

async function publish(fields) {
  const response = await fetch(hub, { method: 'POST', body: new URLSearchParams(fields) });
  const text = await response.text();
  if (!response.ok) throw new Error(JSON.parse(text).detail);
  return text;
}

/* Live prices and orders: one connection for both. */

const shares = new Map();
const fresh = new Set();
const signed = new Intl.NumberFormat('en', {
  signDisplay: 'exceptZero', minimumFractionDigits: 2, maximumFractionDigits: 2,
});
let source;
let lastId = '';
let ticks = 0;
let missed = 0;
let lastTick = 0;
let replayed = null;

function connect() {
  const url = new URL(hub);
  url.searchParams.append('topic', 'prices/{symbol}');
  url.searchParams.append('topic', 'orders');
  // The first time with all there is; later with what came meanwhile.
  if (lastId) url.searchParams.set('last_event_id', lastId);
  else url.searchParams.set('replay', 'oldest');
  source = new EventSource(url);
  source.onopen = () => show('live');
  source.onerror = () => show(source.readyState === EventSource.CLOSED ? 'refused' : 'reconnecting');
  source.addEventListener('prism.open', (e) => { lastId = e.lastEventId || lastId; });
  source.addEventListener('prism.gap', (e) => { lastId = e.lastEventId; onGap(JSON.parse(e.data)); });
  source.addEventListener('prism.mark', (e) => { lastId = e.lastEventId; });
  source.addEventListener('price-update', (e) => { lastId = e.lastEventId; onPrice(JSON.parse(e.data)); });
  source.addEventListener('notification', (e) => { lastId = e.lastEventId; onOrder(e); });
}

function show(text) {
  byId('state').textContent = byId('state').className = text;
}

function onPrice({ symbol, price, tick }) {
  if (lastTick > 0) missed += tick - lastTick - 1;
  lastTick = tick;
  ticks += 1;
  if (replayed !== null) replayed += 1;
  const share = shares.get(symbol) ?? addShare(symbol);
  share.prices.push(price);
  if (share.prices.length > 40) share.prices.shift();
  if (fresh.size === 0) requestAnimationFrame(drawFresh);
  fresh.add(share);
}

function onGap({ reason }) {
  // Then it counts from one again; else the next price says how many were lost.
  if (reason === 'epoch') lastTick = 0;
  byId('resumed').textContent = reason === 'epoch'
    ? 'The hub was started again, and its memory is gone. It says so, instead of staying silent.'
    : 'This page was away too long: some events are gone. The hub says so.';
}

/** A thousand events of the past are drawn once. */
function drawFresh() {
  byId('ticks').textContent = ticks;
  byId('missed').textContent = missed;
  fresh.forEach(draw);
  fresh.clear();
}

function addShare(symbol) {
  const row = document.createElement('li');
  row.innerHTML = '<strong></strong><svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true"><path/></svg><b></b><span></span>';
  row.querySelector('strong').textContent = symbol;
  const share = { symbol, row, prices: [] };
  shares.set(symbol, share);
  const sorted = [...shares.values()].sort((a, b) => a.symbol.localeCompare(b.symbol));
  byId('prices').replaceChildren(...sorted.map((it) => it.row));
  return share;
}

function draw({ row, prices }) {
  const [first, last] = [prices[0], prices.at(-1)];
  const [low, high] = [Math.min(...prices), Math.max(...prices)];
  const points = prices.length > 1 ? prices : [last, last];
  const xy = points.map((price, i) => {
    const y = (100 * (high - price)) / (high - low || 1);
    return `${((100 * i) / (points.length - 1)).toFixed(1)} ${y.toFixed(1)}`;
  });
  row.querySelector('path').setAttribute('d', `M${xy.join('L')}`);
  row.querySelector('b').textContent = `$${last.toFixed(2)}`;
  row.querySelector('span').textContent = `${signed.format((100 * (last - first)) / first)} %`.replace('-', '\u2212');
  row.className = last > first ? 'up' : last < first ? 'down' : '';
  restart(row);
}

/** Plays the animation of what just came, from its beginning. */
function restart(element) {
  element.classList.remove('fresh');
  void element.offsetWidth;
  element.classList.add('fresh');
}

byId('cut').onclick = async () => {
  byId('cut').disabled = true;
  source.close();
  show('cut');
  for (let seconds = 5; seconds > 0; seconds -= 1) {
    byId('resumed').textContent = `The line is cut; events go on without this page: ${seconds} s`;
    await pause(1000);
  }
  replayed = 0;
  connect();
  await pause(500);
  byId('resumed').textContent =
    `Back: the hub replayed ${replayed} prices, in order, and ${missed || 'none'} is missing.`;
  replayed = null;
  byId('cut').disabled = false;
};

function pause(millis) {
  return new Promise((done) => setTimeout(done, millis));
}

/* Orders */

let number = 1000 + (Math.floor(Date.now() / 1000) % 9000);

function orderFields() {
  const data = JSON.stringify({ type: 'order', message: `New order #${number}` });
  return [['topic', 'orders'], ['type', 'notification'], ['data', data]];
}

function onOrder({ data, lastEventId }) {
  let message = data;
  try {
    message = JSON.parse(data).message ?? data;
  } catch {
    // Whoever publishes decides what an order looks like.
  }
  const row = document.createElement('li');
  const [text, id] = [document.createElement('span'), document.createElement('code')];
  text.textContent = message;
  id.textContent = lastEventId;
  row.append(text, id);
  byId('feed').prepend(row);
  if (byId('feed').children.length > 4) byId('feed').lastChild.remove();
  byId('no-orders').hidden = true;
}

byId('order').onclick = async () => {
  const fields = orderFields();
  number += 1;
  byId('order-curl').textContent = curl(orderFields());
  await publish(fields);
};

/* Debugger */

let debug;
let count = 0;

byId('subscribe').onsubmit = (e) => {
  e.preventDefault();
  if (debug) disconnect();
  else subscribe();
};

function subscribe() {
  const url = new URL(hub);
  const topics = byId('topics').value.split('\n').map((topic) => topic.trim()).filter(Boolean);
  topics.forEach((topic) => url.searchParams.append('topic', topic));
  if (byId('begin').value) url.searchParams.set('replay', byId('begin').value);
  if (byId('after').value) url.searchParams.set('last_event_id', byId('after').value);
  listen(url, topics);
}

/** Reads the stream itself, because an EventSource tells only names that it was asked for. */
async function listen(url, topics) {
  const abort = new AbortController();
  const place = { id: '', retry: 1000 };
  debug = abort;
  byId('subscribe').querySelector('button').textContent = 'Disconnect';
  showDebug('connecting');
  while (debug === abort) {
    try {
      await read(url, topics, place, abort.signal);
    } catch (error) {
      if (abort.signal.aborted) return;
      if (error instanceof Refusal) {
        showDebug('refused', error.message);
        disconnect();
        return;
      }
    }
    if (debug !== abort) return;
    showDebug('reconnecting');
    await pause(place.retry);
  }
}

class Refusal extends Error {}

/** Reads until the stream ends, and notes where that was and when to come back. */
async function read(url, topics, place, signal) {
  const headers = { accept: 'text/event-stream' };
  if (place.id) headers['last-event-id'] = place.id;
  const response = await fetch(url, { headers, signal });
  if (!response.ok) throw new Refusal((await response.json()).detail);
  showDebug('live', topics.length === 0 ? 'everything' : `${topics.length} topics`);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split('\n\n');
    rest = blocks.pop();
    blocks.forEach((block) => onBlock(block, place));
  }
}

function onBlock(block, place) {
  const event = { id: '', name: 'message', data: [] };
  for (const line of block.split('\n')) {
    const [, field, value] = line.match(/^([^:]*)(?:: ?(.*))?$/s);
    if (field === 'id') event.id = place.id = value;
    if (field === 'event') event.name = value;
    if (field === 'data') event.data.push(value ?? '');
    if (field === 'retry') place.retry = Number(value);
  }
  const isControl = event.name.startsWith('prism.');
  const isShown = !isControl || byId('control').checked;
  if (event.data.length > 0 && isShown) addEvent(event, isControl);
}

function addEvent({ id, name, data }, isControl) {
  const row = document.createElement('tr');
  row.className = isControl ? 'control' : 'fresh';
  const cells = [clock(new Date()), '', name, data.join('\n')].map((text) => {
    const cell = document.createElement('td');
    cell.textContent = text;
    return cell;
  });
  if (id) cells[1].append(idButton(id));
  row.append(...cells);
  byId('events').prepend(row);
  if (byId('events').children.length > 200) byId('events').lastChild.remove();
  count += 1;
  byId('count').textContent = count;
  byId('no-events').hidden = true;
}

/** An id is where a reader resumes. */
function idButton(id) {
  const button = document.createElement('button');
  button.textContent = id;
  button.title = 'Connect again after this id';
  button.onclick = () => {
    byId('after').value = id;
    disconnect();
    subscribe();
  };
  return button;
}

function disconnect() {
  debug?.abort();
  debug = undefined;
  byId('subscribe').querySelector('button').textContent = 'Connect';
  if (byId('debug-state').className !== 'refused') showDebug('not connected');
}

function showDebug(state, what) {
  byId('debug-state').className = state;
  byId('debug-state').textContent = what ? `${state}: ${what}` : state;
}

byId('clear').onclick = () => {
  byId('events').replaceChildren();
  count = 0;
  byId('count').textContent = count;
  byId('no-events').hidden = false;
};

function publishFields() {
  const fields = [['topic', byId('topic').value]];
  if (byId('name').value) fields.push(['type', byId('name').value]);
  fields.push(['data', byId('data').value]);
  return fields;
}

byId('publish').oninput = () => {
  byId('publish-curl').textContent = curl(publishFields());
};

byId('publish').onsubmit = async (e) => {
  e.preventDefault();
  try {
    byId('answer').textContent = `Published as ${await publish(publishFields())}`;
    byId('answer').className = '';
  } catch (error) {
    byId('answer').textContent = error.message;
    byId('answer').className = 'bad';
  }
};

for (const button of document.querySelectorAll('[data-copy]')) {
  button.onclick = async () => {
    const text = byId(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = 'Copied';
    } catch {
      getSelection().selectAllChildren(text);
      button.textContent = 'Selected';
    }
    setTimeout(() => { button.textContent = 'Copy'; }, 1500);
  };
}

byId('order-curl').textContent = curl(orderFields());
byId('publish').oninput();
byId('read-curl').textContent = `curl -N '${hub}?topic=orders'`;
connect();
subscribe();
