// Starting a run: a runbook, and a form made from the schemas of its params.

import { api, freshKey } from './api.js';
import { dialog, h } from './dom.js';

let count = 0;

/** Opens the form, with this runbook chosen if one is named. */
export async function start(name) {
  const fields = h('div', { class: 'fields' });
  const choice = h('select', { id: 'runbook', onchange: () => show(choice.value) });
  const description = h('p', { class: 'hint' });
  const about = h('div', {}, h('label', { for: 'runbook' }, 'Runbook'), choice, description, fields);
  let known = [], inputs = [], key = freshKey(), sent = '';

  const show = (wanted) => {
    const runbook = known.find((runbook) => runbook.name === wanted);
    inputs = (runbook?.params ?? []).map(field);
    description.textContent = runbook?.description ?? '';
    fields.replaceChildren(...inputs.map((input) => input.element));
  };
  const box = dialog('Start a run', about, 'Start', async () => {
    const params = {};
    for (const input of inputs) input.read(params);
    const body = { runbook: choice.value, params };
    // The same form sent again (the answer was lost) is the same run.
    if (JSON.stringify(body) !== sent) key = freshKey();
    sent = JSON.stringify(body);
    try {
      const run = await api('/v1/runs', { method: 'POST', body, key });
      location.hash = `#/runs/${run.id}`;
    } catch (problem) {
      for (const error of problem.errors ?? []) inputs.find((input) => error.pointer.startsWith(input.pointer))?.fail(error.detail);
      throw problem;
    }
  });
  try {
    known = (await api('/v1/runbooks?limit=200')).items.filter((runbook) => runbook.version > 0);
  } catch (problem) {
    description.textContent = problem.message;
  }
  if (!box.isConnected) return;
  choice.append(...known.map((runbook) => h('option', {}, runbook.name)));
  if (name) choice.value = name;
  if (known.length > 0) show(choice.value);
  else description.textContent ||= 'There are no runbooks yet: save one in the runbooks folder.';
}

const types = (schema) => [schema.type ?? []].flat();
const form = (value) => (value === undefined ? '' : JSON.stringify(value));

/** One param: its element, `read` into the params, `fail` to show what is wrong. */
function field({ name, required, default: given, schema, description }) {
  const preset = given ?? undefined;
  const id = `param-${++count}`;
  const { control, value } = input(schema, required, preset);
  const problem = h('p', { id: `${id}-problem`, class: 'field-problem' });
  const hint = description ?? schema.description;
  control.id = id;
  control.setAttribute('aria-describedby', `${id}-hint ${id}-problem`);
  const before = control.type === 'checkbox' ? control.checked : control.value;
  const fail = (text) => {
    problem.textContent = text;
    control.setAttribute('aria-invalid', 'true');
  };
  const read = (params) => {
    problem.textContent = '';
    control.removeAttribute('aria-invalid');
    const now = control.type === 'checkbox' ? control.checked : control.value;
    // What was left alone keeps the runbook's own default.
    if (now === before && !(required && preset === undefined)) return;
    try {
      const read = value();
      if (read !== undefined) params[name] = read;
    } catch {
      fail('This is not JSON.');
      throw new Error(name);
    }
  };
  const label = h('label', { for: id }, name, required && preset === undefined ? h('span', { class: 'required' }, ' required') : '');
  return { element: h('div', { class: 'field' }, label, control, h('p', { id: `${id}-hint`, class: 'hint' }, hint ?? ''), problem), read, fail, pointer: `/params/${name.replaceAll('~', '~0').replaceAll('/', '~1')}` };
}

/** The control for a schema, and how its value is read. */
function input(schema, required, preset) {
  if (schema.enum || (types(schema).join() === 'boolean' && preset === undefined && !required)) {
    const choices = schema.enum ?? [true, false];
    const empty = preset === undefined && h('option', { value: '' }, '—');
    const control = h('select', {}, empty, choices.map((choice) => h('option', { value: form(choice) }, typeof choice === 'string' ? choice : form(choice))));
    control.value = form(preset);
    return { control, value: () => (control.value === '' ? undefined : JSON.parse(control.value)) };
  }
  if (types(schema).join() === 'boolean') {
    const control = h('input', { type: 'checkbox', checked: preset === true });
    return { control, value: () => control.checked };
  }
  if (types(schema).includes('string')) {
    const control = h('input', { type: 'text', autocomplete: 'off', spellcheck: 'false' });
    control.value = preset ?? '';
    return { control, value: () => control.value };
  }
  if (['integer', 'number'].includes(types(schema).join())) {
    const step = types(schema)[0] === 'integer' ? 1 : 'any';
    const control = h('input', { type: 'number', step, min: schema.minimum, max: schema.maximum, required });
    control.value = preset ?? '';
    return { control, value: () => (control.value === '' ? undefined : Number(control.value)) };
  }
  const control = h('textarea', { rows: 3, spellcheck: 'false', placeholder: 'JSON' });
  control.value = preset === undefined ? '' : JSON.stringify(preset);
  return { control, value: () => (control.value.trim() === '' ? undefined : JSON.parse(control.value)) };
}
