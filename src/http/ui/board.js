// The board: what waits and runs in each lane, and what has ended, live.

import { api, follow, throttled } from './api.js';
import { ago, announce, arrange, duration, failure, h, pill, since, words } from './dom.js';
import { lesson } from './runbooks.js';
import { start } from './start.js';

const OWNED = ['running', 'claimed'];
const ENDED = ['succeeded', 'failed', 'cancelled', 'timed_out'];
const CHANGES = ['run_created', 'run_queued', 'run_claimed', 'run_started', 'run_resumed', 'run_recovered', 'run_parked', 'run_requeued',
  'cancel_requested', 'run_timed_out', 'run_given_up', 'run_finished'].map((action) => `lifecycle.${action}`);
/** Runs whose steps are asked for, and the most steps that one of them may have. */
const FOLLOWED = 16, MANY_STEPS = 200;

export function board(main, filters) {
  const view = { filters, ended: 25, steps: new Map(), owned: [] };
  const nodes = { bar: bar(view), state: h('div'), lanes: h('div', { class: 'lanes' }), ended: h('section', { class: 'ended' }) };
  main.append(h('h1', { class: 'unseen' }, 'Board'), nodes.bar, nodes.state, nodes.lanes, nodes.ended);
  nodes.more = h('button', { onclick: () => { view.ended = 200; load(); } }, 'Show more');
  nodes.list = h('ol', { class: 'runs' });
  nodes.ended.append(h('h2', {}, 'Ended'), nodes.list, nodes.more);
  nodes.ended.hidden = true;

  const load = throttled(() => refresh(view, nodes), 150);
  const poll = throttled(async () => { await steps(view); paint(view, nodes); }, 0);
  const end = follow('/v1/events/stream', ['sync', ...CHANGES], (event, name) => {
    if (name === 'lifecycle.run_finished') announce(`A run has ${words(event.data.status)}.`);
    load();
  });
  // Steps make no events here; and runs of other processes on the same data folder may make none.
  const timers = [setInterval(() => document.hidden || poll(), 2000), setInterval(() => document.hidden || load(), 10000)];
  refresh(view, nodes).then(poll);
  return () => { end(); load.stop(); poll.stop(); timers.forEach(clearInterval); };
}

/** The filters; a change is a new address, so that it can be kept and sent. */
function bar(view) {
  const set = (name, value) => {
    if (value) view.filters.set(name, value);
    else view.filters.delete(name);
    location.hash = `#/${view.filters.size > 0 ? `?${view.filters}` : ''}`;
  };
  const select = (name, label, choices) => {
    const node = h('select', { 'aria-label': label, onchange: () => set(name, node.value) }, h('option', { value: '' }, label), choices);
    node.value = view.filters.get(name) ?? '';
    return node;
  };
  const text = h('input', { type: 'search', placeholder: 'Find: runbook, actor, label, id', 'aria-label': 'Find', maxlength: 100, onchange: () => set('text', text.value.trim()) });
  text.value = view.filters.get('text') ?? '';
  const form = h('form', { class: 'bar', role: 'search', onsubmit: (event) => event.preventDefault() }, text,
    select('status', 'Any status', ['queued', ...OWNED, ...ENDED].map((status) => h('option', { value: status }, words(status)))));
  const offer = async (name, label, path, choice) => {
    const { items } = await api(path);
    return items.length > 0 && select(name, label, items.map(choice));
  };
  Promise.allSettled([
    offer('runbook', 'Any runbook', '/v1/runbooks?limit=200', (runbook) => h('option', {}, runbook.name)),
    offer('session', 'Any session', '/v1/sessions?limit=200', (session) => h('option', { value: session.id }, session.name)),
  ]).then((offers) => form.append(...offers.map((offer) => offer.value).filter(Boolean)));
  return form;
}

/** The runs in one of these statuses that pass the filters, newest first. */
async function runs(filters, statuses, limit) {
  const only = filters.get('status');
  const wanted = only ? statuses.filter((status) => status === only) : statuses;
  if (wanted.length === 0) return { items: [] };
  const query = new URLSearchParams([...wanted.map((status) => ['status', status]), ['limit', limit]]);
  for (const name of ['text', 'runbook', 'session']) if (filters.get(name)) query.set(name, filters.get(name));
  return api(`/v1/runs?${query}`);
}

async function refresh(view, nodes) {
  try {
    const [lanes, owned, queued, ended] = await Promise.all([api('/v1/lanes'), runs(view.filters, OWNED, 200),
      runs(view.filters, ['queued'], 100), runs(view.filters, ENDED, view.ended)]);
    Object.assign(view, { lanes: lanes.items, owned: owned.items, queued: queued.items, done: ended.items, more: ended.next_cursor });
    nodes.state.replaceChildren(...(await empty(view)));
    paint(view, nodes);
  } catch (problem) {
    if (problem.status !== 401) nodes.state.replaceChildren(failure(problem));
  }
}

/** What a board without runs says. */
async function empty(view) {
  if (view.owned.length + view.queued.length + view.done.length > 0) return [];
  if (view.filters.size > 0) return [h('p', { class: 'panel' }, 'No run passes these filters. ', h('a', { href: '#/' }, 'Show all'))];
  const runbooks = (await api('/v1/runbooks?limit=8')).items.filter((runbook) => runbook.version > 0);
  if (runbooks.length === 0) return [lesson()];
  return [h('section', { class: 'panel lesson' }, h('h2', {}, 'Nothing has run yet'),
    h('p', {}, 'Start one of these here, or in a terminal with ', h('code', {}, `opsroom run ${runbooks[0].name}`), '. It appears on this page by itself.'),
    h('ul', { class: 'offers' }, runbooks.map((runbook) => h('li', {}, h('button', { onclick: () => start(runbook.name) }, runbook.name), h('span', {}, runbook.description ?? '')))))];
}

/** How far the first of the running ones are. */
async function steps(view) {
  const followed = view.owned.filter((run) => run.steps_total <= MANY_STEPS).slice(0, FOLLOWED);
  const found = await Promise.all(followed.map(async ({ id }) => [id, (await api(`/v1/runs/${id}/steps`).catch(() => ({ items: [] }))).items]));
  view.steps = new Map(found.map(([id, items]) => [id, items.map((step) => [step.id, step.status])]));
}

function paint(view, nodes) {
  if (!view.lanes) return;
  arrange(nodes.lanes, view.lanes.map(({ lane }) => ({ key: lane, state: '', make: () => column(lane) })));
  for (const lane of view.lanes) {
    const node = nodes.lanes.arranged.get(lane.lane).node;
    fill(node, lane, [...view.owned, ...view.queued].filter((run) => run.lane === lane.lane), view.steps);
  }
  nodes.ended.hidden = view.done.length === 0;
  nodes.more.hidden = !view.more || view.ended === 200;
  arrange(nodes.list, view.done.map((run) => ({ key: run.id, state: run, make: () => row(run) })));
}

function column(letter) {
  return h('section', { class: 'lane', 'aria-labelledby': `lane-${letter}` },
    h('header', {}, h('h2', { id: `lane-${letter}` }, h('span', { class: 'unseen' }, 'Lane '), letter), h('p', { class: 'counts' }), h('p', { class: 'slots', 'aria-hidden': 'true' })),
    h('ol', { class: 'cards' }), h('p', { class: 'rest hint' }));
}

/** Puts counts and cards into a lane's column. */
function fill(node, { running, queued, slots }, list, known) {
  const count = (value, label) => h('span', {}, h('b', {}, value), ` ${label}`);
  node.classList.toggle('idle', list.length === 0);
  node.querySelector('.counts').replaceChildren(count(running, 'running'), count(queued, 'queued'), count(slots, slots === 1 ? 'slot' : 'slots'));
  const blocks = Math.min(slots, 24);
  node.querySelector('.slots').replaceChildren(...Array.from({ length: blocks }, (_, slot) => h('i', { class: slot < running ? 'busy' : null })));
  arrange(node.querySelector('.cards'), list.map((run) => ({ key: run.id, state: [run.status, run.waiting_on, run.started_at, known.get(run.id)], make: () => card(run, known.get(run.id)) })));
  const hidden = running + queued - list.length;
  node.querySelector('.rest').textContent = list.length === 0 ? 'Nothing waits or runs here.' : hidden > 0 && list.length >= 100 ? `and ${hidden} more` : '';
}

function card(run, steps = []) {
  const current = steps.filter(([, status]) => ['running', 'retrying', 'waiting', 'unknown'].includes(status));
  const waits = { timer: 'waits for a time', step_outcome: 'waits for your word on a step', capacity: 'waits for a slot' }[run.waiting_on];
  const doing = current.length > 0 ? `${current.slice(0, 3).map(([id]) => id).join(', ')}${current.length > 3 ? ` and ${current.length - 3} more` : ''}` : waits;
  return h('li', {}, h('a', { class: `card s-${run.status}${run.waiting_on === 'step_outcome' ? ' held' : ''}`, href: `#/runs/${run.id}` },
    h('span', { class: 'row' }, h('strong', {}, run.runbook), pill(run.status)),
    h('span', { class: 'row hint' }, h('span', { class: 'doing' }, doing ?? `${run.steps_total} steps`), since(run.started_at ?? run.created_at)),
    progress(steps)));
}

/** A block for each step, or a bar when there are many. */
function progress(steps) {
  if (steps.length === 0) return null;
  const done = steps.filter(([, status]) => ['succeeded', 'failed', 'skipped', 'blocked', 'cancelled'].includes(status)).length;
  const label = `${done} of ${steps.length} steps`;
  if (steps.length > 30) return h('progress', { max: steps.length, value: done, 'aria-label': label });
  return h('span', { class: 'track', role: 'img', 'aria-label': label, title: label }, steps.map(([, status]) => h('i', { class: `s-${status}` })));
}

function row(run) {
  return h('li', {}, h('a', { class: `line s-${run.status}`, href: `#/runs/${run.id}` },
    pill(run.status), h('strong', {}, run.runbook), h('span', { class: 'why' }, run.error?.message ?? ''),
    h('span', { class: 'who' }, run.trigger.actor), h('span', { class: 'took' }, duration(run.duration_ms)), ago(run.ended_at)));
}
