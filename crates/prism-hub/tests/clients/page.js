// What a page does with a hub; the tests call these.
(() => {
  /** Everything that happened, in order. */
  window.seen = [];
  window.opened = 0;
  window.failed = [];

  window.listen = (url, names = [], init = {}) => {
    window.source = new EventSource(url, init);
    source.onopen = () => { opened += 1; };
    source.onerror = () => { failed.push(source.readyState); };
    for (const type of ['message', 'prism.open', 'prism.gap', ...names]) {
      source.addEventListener(type, ({ data, lastEventId }) => {
        seen.push({ type, data, id: lastEventId });
      });
    }
    return true;
  };

  /** Publishes a form, and says how it was answered. */
  window.publish = async (url, fields, token, init = {}) => {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const body = new URLSearchParams(fields);
    const response = await fetch(url, { method: 'POST', headers, body, ...init });
    const type = response.headers.get('content-type');
    return { status: response.status, type, body: await response.text() };
  };

  window.of = (type) => seen.filter((event) => event.type === type);
  window.messages = () => of('message').map((event) => event.data);
  return true;
})()
