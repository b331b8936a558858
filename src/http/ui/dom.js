// Elements, and how times and sizes are written. Values become text nodes here, never markup.

/** An element. `on…` attributes are listeners; children that are null or false are left out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value != null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.flat(2).filter((child) => child != null && child !== false));
  return element;
}

/**
 * Makes the children of `parent` those of `entries` (`{key, state, make}`), in order. A child is made again only
 * when its state differs, and keyboard focus stays where it was.
 */
export function arrange(parent, entries) {
  const known = (parent.arranged ??= new Map());
  const wanted = new Map();
  let place = parent.firstChild;
  for (const { key, state, make } of entries) {
    const form = JSON.stringify(state);
    const old = known.get(key);
    let node = old?.node;
    if (old?.form !== form) {
      node = make();
      if (old) {
        if (place === old.node) place = node;
        replace(old.node, node);
      }
    }
    if (node === place) place = place.nextSibling;
    else parent.insertBefore(node, place);
    wanted.set(key, { node, form });
  }
  for (const [key, { node }] of known) if (!wanted.has(key)) node.remove();
  parent.arranged = wanted;
}

const FOCUSABLE = 'a, button, input, select, textarea';
const focusable = (node) => [...(node.matches(FOCUSABLE) ? [node] : []), ...node.querySelectorAll(FOCUSABLE)];

function replace(old, node) {
  const focus = old.contains(document.activeElement) ? focusable(old).indexOf(document.activeElement) : -1;
  old.replaceWith(node);
  focusable(node)[focus]?.focus({ preventScroll: true });
}

/** Server time less browser time, in milliseconds; api.js keeps it. */
export const clock = { skew: 0, now: () => Date.now() + clock.skew };

export function duration(ms) {
  if (ms == null) return '';
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.floor(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 172800) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} days`;
}

const passed = (from) => duration(Math.max(0, Math.floor((clock.now() - Date.parse(from)) / 1000) * 1000)).replace('.0', '');
const moment = (from) => (Date.parse(from) + 1000 > clock.now() ? 'now' : `${passed(from)} ago`);

/** How long ago, kept up to date. */
export const ago = (from) => h('time', { datetime: from, title: from, 'data-ago': from }, moment(from));
/** How long since, kept up to date. */
export const since = (from) => h('time', { datetime: from, title: from, 'data-since': from }, passed(from));

setInterval(() => {
  const write = (node, text) => node.textContent === text || (node.textContent = text);
  for (const node of document.querySelectorAll('[data-ago]')) write(node, moment(node.dataset.ago));
  for (const node of document.querySelectorAll('[data-since]')) write(node, passed(node.dataset.since));
}, 1000);

export function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  const step = Math.min(3, Math.floor(Math.log2(bytes) / 10));
  return `${(bytes / 1024 ** step).toFixed(1)} ${['', 'KiB', 'MiB', 'GiB'][step]}`;
}

export const words = (name) => name.replaceAll('_', ' ');
export const pill = (status) => h('span', { class: `pill s-${status}` }, words(status));

/** Said by screen readers. */
export const announce = (text) => (document.getElementById('news').textContent = text);

/** One line for each thing that is wrong. */
export function failure(problem) {
  return h('div', { class: 'problem', role: 'alert' },
    h('strong', {}, problem.code ?? 'Error'), ' ', problem.message,
    problem.help && h('p', {}, problem.help),
    (problem.errors ?? []).map(({ pointer, detail }) => h('p', {}, h('code', {}, pointer), ' ', detail)),
    diagnostics(problem.diagnostics));
}

export const diagnostics = (list = []) => list.length > 0 && h('ul', { class: 'diagnostics' }, list.map((d) =>
  h('li', {}, h('code', {}, `${d.file}:${d.line}:${d.column}`), ' ', d.message, ' ', h('small', {}, d.code), d.help && h('p', {}, d.help))));

/** A dialog with a form; it is removed when it closes. `submit` keeps it open by throwing. */
export function dialog(title, body, label, submit) {
  const problems = h('div');
  const button = h('button', { class: 'primary' }, label);
  const form = h('form', { onsubmit: async (event) => {
    event.preventDefault();
    button.disabled = true;
    problems.replaceChildren();
    try {
      await submit(form);
      box.close();
    } catch (problem) {
      if (!form.querySelector('[aria-invalid]')) problems.append(failure(problem));
      else form.querySelector('[aria-invalid]').focus();
    }
    button.disabled = false;
  } }, h('h2', { id: 'dialog-title' }, title), body, problems,
  h('menu', {}, h('button', { type: 'button', onclick: () => box.close() }, 'Close'), button));
  const box = h('dialog', { 'aria-labelledby': 'dialog-title', onclose: () => box.remove() }, form);
  document.body.append(box);
  box.showModal();
  return box;
}
