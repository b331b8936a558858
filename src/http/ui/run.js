// One run: what it is, why it waits, its steps, its log and what it left behind, live.

import { api, follow, freshKey, throttled } from './api.js';
import { ago, announce, arrange, dialog, duration, failure, h, pill, since, size, words } from './dom.js';
import { Log } from './log.js';

const RUN = ['run_created', 'run_queued', 'run_claimed', 'run_started', 'run_resumed', 'run_recovered', 'run_parked', 'run_requeued', 'cancel_requested',
  'run_timed_out', 'run_given_up', 'phase_started', 'phase_timed_out', 'run_finished'];
const STEP = ['started', 'succeeded', 'failed', 'retrying', 'waiting', 'interrupted', 'unknown', 'resolved', 'skipped', 'blocked', 'cancelled'];
const EVENTS = [...RUN, ...STEP.map((action) => `step_${action}`)].map((action) => `lifecycle.${action}`).concat('system.log', 'system.dropped');
const OVER = ['succeeded', 'failed', 'cancelled', 'timed_out'];

export function run(main, id) {
  const path = `/v1/runs/${encodeURIComponent(id)}`;
  const log = new Log((step) => `${path}/steps/${encodeURIComponent(step)}/log`);
  const nodes = { head: h('header', { class: 'run-head' }), why: h('div'), steps: h('ol', { class: 'steps' }), artifacts: h('section', { class: 'artifacts' }) };
  const view = { path, log, nodes, step: null, last: 0 };
  view.all = h('button', { class: 'step-choice', 'aria-pressed': 'true', onclick: () => choose(view, null) }, 'All steps');
  main.append(h('p', {}, h('a', { href: '#/' }, '← Board')), nodes.head, nodes.why,
    h('div', { class: 'split' }, h('section', {}, h('div', { class: 'row' }, h('h2', {}, 'Steps'), view.all), nodes.steps), log.element), nodes.artifacts);

  const load = throttled(() => refresh(view), 150);
  view.load = load;
  const end = follow(`${path}/events/stream`, EVENTS, (event) => {
    if (event.sequence <= view.last) return;
    view.last = event.sequence;
    if (event.event.action === 'log') return log.chunk(event.data);
    tell(log, event);
    load();
  });
  refresh(view);
  return () => { end(); load.stop(); };
}

/** Puts an event into the log, in words. */
function tell(log, { event: { action }, data }) {
  const { step, attempt, error, until, status, from, to } = data;
  if (step && action !== 'step_started') log.ended(step);
  const extra = [attempt > 1 && `attempt ${attempt}`, error && `${error.code}: ${error.message}`, until && `${action === 'step_waiting' ? 'until' : 'again at'} ${until.slice(11, 19)}`].filter(Boolean).join(', ');
  const said = action === 'run_finished' ? `run ${words(status)}` : action === 'dropped' ? `events ${from} to ${to} were lost` : words(action.replace(/^step_/, ''));
  log.note(step, `${said}${extra && `: ${extra}`}`);
  if (action === 'run_finished') announce(`The run has ${words(status)}.`);
}

async function refresh(view) {
  const { path, nodes } = view;
  try {
    const [run, steps, artifacts] = await Promise.all([api(path), api(`${path}/steps`), api(`${path}/artifacts?limit=200`).catch(() => ({ items: [] }))]);
    const held = steps.items.some((step) => step.status === 'unknown');
    const why = run.status === 'queued' || held ? await api(`${path}/why`).catch(() => null) : null;
    document.title = `${run.runbook} ${words(run.status)} · opsroom`;
    arrange(nodes.head, [{ key: 'head', state: run, make: () => head(view, run) }]);
    arrange(nodes.why, why ? [{ key: 'why', state: why, make: () => explain(why) }] : []);
    arrange(nodes.steps, steps.items.map((step) => ({ key: step.id, state: [step, view.step === step.id], make: () => entry(view, step) })));
    arrange(nodes.artifacts, artifacts.items.length > 0 ? [{ key: 'all', state: artifacts, make: () => left(artifacts.items) }] : []);
    view.known = steps.items;
  } catch (problem) {
    if (problem.status !== 401) arrange(nodes.head, [{ key: 'problem', state: problem.message, make: () => failure(problem) }]);
  }
}

const text = (value) => (typeof value === 'string' ? value : JSON.stringify(value));

function head(view, run) {
  const over = OVER.includes(run.status);
  const fact = (name, ...value) => value.some(Boolean) && h('div', { class: 'fact' }, h('dt', {}, name), h('dd', {}, ...value.filter(Boolean)));
  return h('div', { class: `panel s-${run.status}` },
    h('div', { class: 'row' }, h('h1', {}, run.runbook), pill(run.status), !over && h('button', { class: 'danger', onclick: () => cancel(view, run) }, 'Cancel')),
    run.error && h('p', { class: 'problem' }, h('strong', {}, run.error.code), ' ', run.error.message),
    h('dl', {},
      fact('Run', h('code', {}, run.id)),
      fact('Version', run.runbook_version ? String(run.runbook_version) : 'a file'),
      fact('Lane', run.lane, run.priority !== 0 && `, priority ${run.priority}`),
      fact('Started by', `${run.trigger.actor} (${run.trigger.kind})`),
      fact('Created', ago(run.created_at)),
      run.started_at && fact(over ? 'Took' : 'Running for', over ? duration(run.duration_ms) : since(run.started_at)),
      run.recoveries > 0 && fact('Recovered', `${run.recoveries} times`),
      run.session_id && fact('Session', h('a', { href: `#/?session=${run.session_id}` }, run.session_id)),
      Object.entries(run.labels).map(([name, value]) => fact(name, text(value))),
      Object.entries(run.params).map(([name, value]) => fact(h('code', {}, name), h('code', {}, text(value))))));
}

const explain = (why) => h('section', { class: 'panel why-box', 'aria-label': 'Why it waits' },
  h('p', {}, h('strong', {}, why.summary), why.position && ` Place ${why.position} in its lane.`),
  why.blockers.length > 0 && h('ul', {}, why.blockers.map((blocker) => h('li', {}, blocker.step && [h('code', {}, blocker.step), ' '], blocker.detail, blocker.since && [', ', ago(blocker.since)]))),
  why.actions.map((action) => h('pre', {}, h('code', {}, action))));

function entry(view, step) {
  const took = step.ended_at ? duration(step.duration_ms) : step.started_at && step.status === 'running' ? since(step.started_at) : '';
  return h('li', { class: `step s-${step.status}` },
    h('button', { class: 'step-choice', 'aria-pressed': String(view.step === step.id), onclick: () => choose(view, step.id) },
      h('span', { class: 'row' }, h('strong', {}, step.id), h('span', { class: 'took' }, took)),
      h('span', { class: 'row hint' }, [words(step.status), step.uses, step.phase !== 'body' && words(step.phase), step.attempts > 1 && `${step.attempts} attempts`].filter(Boolean).join(' · '))),
    step.error && h('p', { class: 'problem' }, h('strong', {}, step.error.code), ' ', step.error.message),
    step.status === 'unknown' && held(view, step));
}

/** A step that was under way when its worker died: a person says what became of it. */
function held(view, step) {
  const button = (verdict, label, meaning) => h('button', { onclick: () => resolve(view, step, verdict, label, meaning) }, label);
  return h('div', { class: 'verdicts', role: 'group', 'aria-label': `What became of ${step.id}?` }, h('p', {}, 'Nobody knows what it did. What became of it?'),
    button('succeeded', 'It was done', 'The run goes on.'), button('failed', 'It failed', 'The step counts as failed.'), button('retry', 'Do it again', 'The step runs once more.'));
}

function resolve(view, step, verdict, label, meaning) {
  const note = h('input', { id: 'note', maxlength: 1000, autocomplete: 'off' });
  const key = freshKey();
  dialog(`${step.id}: ${label.toLowerCase()}`, h('div', {}, h('p', {}, meaning), h('label', { for: 'note' }, 'Note'), note), label, async () => {
    await api(`${view.path}/steps/${encodeURIComponent(step.id)}/resolve`, { method: 'POST', key, body: { verdict, ...(note.value && { note: note.value }) } });
    view.load();
  });
}

function cancel(view, run) {
  const reason = h('input', { id: 'reason', maxlength: 1000, autocomplete: 'off' });
  const force = h('input', { id: 'force', type: 'checkbox' });
  const body = h('div', {}, h('p', {}, 'Running steps are stopped; its on_cancel and finally steps still run.'),
    h('label', { for: 'reason' }, 'Reason'), reason, h('label', { class: 'check' }, force, ' End those steps, too'));
  dialog(`Cancel ${run.runbook}?`, body, 'Cancel the run', async () => {
    await api(`${view.path}/cancel`, { method: 'POST', key: freshKey(), body: { force: force.checked, ...(reason.value && { reason: reason.value }) } });
    view.load();
  });
}

function choose(view, step) {
  view.step = step;
  view.log.select(step);
  view.all.setAttribute('aria-pressed', String(step === null));
  arrange(view.nodes.steps, (view.known ?? []).map((known) => ({ key: known.id, state: [known, step === known.id], make: () => entry(view, known) })));
}

const left = (artifacts) => h('div', {}, h('h2', {}, 'Artifacts'), h('ul', {}, artifacts.map((artifact) =>
  h('li', { class: 'row' }, link(artifact), h('small', {}, [artifact.kind, artifact.kind !== 'link' && size(artifact.size), artifact.step ?? artifact.created_by].filter(Boolean).join(' · '))))));

/** Where an artifact leads; a link that is no web address stays a text. */
function link({ id, name, kind, url }) {
  if (kind !== 'link') return h('a', { href: `/v1/artifacts/${id}/content`, download: name.split('/').at(-1) }, name);
  return /^https?:\/\//i.test(url ?? '') ? h('a', { href: url, target: '_blank', rel: 'noopener noreferrer' }, name) : h('span', {}, `${name}: ${url}`);
}
