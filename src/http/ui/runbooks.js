// The runbooks, and what is wrong with files that are no version yet.

import { api, follow, throttled } from './api.js';
import { ago, arrange, diagnostics, failure, h } from './dom.js';
import { start } from './start.js';

export function runbooks(main) {
  const list = h('ul', { class: 'runbook-list' });
  const state = h('div');
  main.append(h('h1', {}, 'Runbooks'), state, list);
  const load = throttled(async () => {
    try {
      const { items } = await api('/v1/runbooks?limit=200');
      state.replaceChildren(...(items.length > 0 ? [] : [lesson()]));
      arrange(list, items.map((runbook) => ({ key: runbook.name, state: runbook, make: () => entry(runbook) })));
    } catch (problem) {
      state.replaceChildren(failure(problem));
    }
  }, 0);
  // A saved file makes no event; every look at the page is a fresh one.
  const timer = setInterval(() => document.hidden || load(), 5000);
  const end = follow('/v1/events/stream', ['sync'], load);
  load();
  return () => { end(); load.stop(); clearInterval(timer); };
}

function entry(runbook) {
  const { name, version, description, lane, steps_total: steps, params, origin, updated_at: updated, problem } = runbook;
  return h('li', { class: problem ? 'panel broken' : 'panel' },
    h('div', { class: 'row' },
      h('h2', {}, name),
      version > 0 ? h('small', {}, `version ${version}`) : h('small', {}, 'no good version yet'),
      version > 0 && h('button', { 'aria-label': `Start ${name}`, onclick: () => start(name) }, 'Start')),
    description && h('p', {}, description),
    version > 0 && h('p', { class: 'hint' }, [`${steps} ${steps === 1 ? 'step' : 'steps'}`, `lane ${lane ?? 'A'}`,
      params.length > 0 && `params: ${params.map((param) => param.name).join(', ')}`, origin].filter(Boolean).join(' · '), updated && [' · ', ago(updated)]),
    problem && h('div', { class: 'problem' },
      h('strong', {}, `${problem.file} is not in use`), version > 0 && `: version ${version} still is`, ' · ', ago(problem.since),
      diagnostics(problem.diagnostics)));
}

const FIRST = `version: 1
name: hello
description: My first runbook.
params:
  who: {type: string, default: world}
steps:
  - id: greet
    env: {WHO: "\${{ params.who }}"}
    run: |
      for n in 1 2 3; do echo "hello $WHO, $n"; sleep 1; done
`;

/** What to do when there is nothing yet. */
export const lesson = () => h('section', { class: 'panel lesson' },
  h('h2', {}, 'Write the first runbook'),
  h('p', {}, 'A runbook is a YAML file: steps, and what they need. Save this as ', h('code', {}, 'runbooks/hello.yaml'), ' where opsroom was started. ',
    'It is taken up as soon as it is saved.'),
  h('pre', {}, h('code', {}, FIRST)),
  h('p', {}, h('code', {}, 'opsroom init'), ' writes one like it. Then start it here, or with ', h('code', {}, 'opsroom run hello'), '.'));
