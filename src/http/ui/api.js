// Requests and streams of the public API.

import { clock } from './dom.js';

/** A problem document (RFC 9457), or `UNREACHABLE`. */
export class Problem extends Error {
  constructor(status, document) {
    super(document.detail ?? document.title ?? `The server answered ${status}.`);
    Object.assign(this, { status, code: document.code, help: document.help, errors: document.errors, diagnostics: document.diagnostics });
  }
}

/** The answer's document. A 401 also raises `signed-out` on the window. */
export async function api(path, { method = 'GET', body, key } = {}) {
  const headers = { accept: 'application/json' };
  if (body !== undefined) headers['content-type'] = 'application/json';
  if (key) headers['idempotency-key'] = key;
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Problem(0, { code: 'UNREACHABLE', detail: 'The server does not answer. Is `opsroom up` running?' });
  }
  const skew = Date.parse(answer.headers.get('date')) - Date.now();
  if (Number.isFinite(skew)) clock.skew = Math.abs(skew) > 2000 ? skew : 0;
  const document = await answer.json().catch(() => ({}));
  if (answer.status === 401) window.dispatchEvent(new Event('signed-out'));
  if (!answer.ok) throw new Problem(answer.status, document);
  return document;
}

/** A key that makes a repeated write happen once. */
export const freshKey = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join('-');

/** Runs `task` soon after each call, never twice at once, and rests in proportion to what it costs. */
export function throttled(task, pause = 200) {
  let timer = null, busy = false, again = false, rest = 0, stopped = false;
  const run = async () => {
    timer = null;
    busy = true;
    again = false;
    const began = performance.now();
    try { await task(); } finally {
      busy = false;
      rest = Math.min(10000, 3 * (performance.now() - began));
      if (again) call();
    }
  };
  const call = () => {
    if (stopped) return;
    if (busy) again = true;
    else timer ??= setTimeout(run, pause + rest);
  };
  call.stop = () => { stopped = true; clearTimeout(timer); };
  return call;
}

const indicator = document.getElementById('connection');
const STATES = { connecting: 'Connecting …', live: 'Live', broken: 'Connection lost, trying again …', complete: 'Complete', out: 'Signed out' };

export function showConnection(state) {
  if (indicator.dataset.state === state) return;
  indicator.dataset.state = state;
  indicator.textContent = STATES[state];
}

/**
 * Follows a stream; `take(event, name)` gets each event. The browser reconnects by itself and says where it was;
 * where it gives up (an error for an answer), this does. A hidden page follows nothing: browsers allow a server
 * few connections. Returns a function that ends it.
 */
export function follow(path, names, take) {
  let source = null, last = '', timer = null, done = false;
  const open = () => {
    if (done || source || document.hidden) return;
    showConnection('connecting');
    source = new EventSource(last ? `${path}?last_event_id=${encodeURIComponent(last)}` : path);
    source.onopen = () => showConnection('live');
    source.onerror = () => {
      showConnection('broken');
      if (source?.readyState !== EventSource.CLOSED) return;
      shut();
      // The answer to this says whether the session has ended.
      api('/v1/lanes').catch(() => {}).finally(() => (timer = setTimeout(open, 2000)));
    };
    for (const name of names) source.addEventListener(name, (event) => {
      if (event.lastEventId) last = event.lastEventId;
      take(event.data ? JSON.parse(event.data) : null, name);
    });
    source.addEventListener('close', () => { end(); showConnection('complete'); });
  };
  const shut = () => { source?.close(); source = null; clearTimeout(timer); };
  const turn = () => (document.hidden ? shut() : open());
  const end = () => { done = true; shut(); document.removeEventListener('visibilitychange', turn); };
  document.addEventListener('visibilitychange', turn);
  open();
  return end;
}
