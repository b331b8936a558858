// The live log of a run: bounded, with colours, following its end until the reader scrolls up.

import { h } from './dom.js';

/** Lines kept of the run, and lines shown at once. Older ones are in the raw log of each step. */
const KEPT = 6000, SHOWN = 2000;
/** Characters of a line; what is longer goes on in the next one. */
const LONGEST = 8000;
// Escape sequences: CSI (colours are among them), OSC with their end, and single ones.
const ESCAPE = /\x1b(?:\[([0-9;:?<=>]*)[ -/]*([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_=>78]|[()][0-9A-Z])/g;

/** Text with colours as elements; every other control character is left out. */
export function coloured(text) {
  const parts = [];
  let style = { colour: null, bold: false }, from = 0;
  const put = (piece) => {
    const clean = piece.replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g, '');
    if (clean === '') return;
    const name = [style.colour, style.bold && 'bold'].filter(Boolean).join(' ');
    parts.push(name ? h('span', { class: name }, clean) : clean);
  };
  for (const found of text.matchAll(ESCAPE)) {
    put(text.slice(from, found.index));
    from = found.index + found[0].length;
    if (found[2] === 'm') style = styled(style, found[1].split(/[;:]/).map(Number));
  }
  put(text.slice(from));
  return parts;
}

function styled(style, codes) {
  let { colour, bold } = style;
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i];
    if (code === 0) [colour, bold] = [null, false];
    else if (code === 1) bold = true;
    else if (code === 22) bold = false;
    else if (code === 39) colour = null;
    else if (code >= 30 && code <= 37) colour = `c${code - 30}`;
    else if (code >= 90 && code <= 97) colour = `c${code - 90}`;
    else if (code === 38 || code === 48) i += codes[i + 1] === 5 ? 2 : 4;
  }
  return { colour, bold };
}

export class Log {
  /** `raw(step)` is the address of a step's whole log. */
  constructor(raw) {
    Object.assign(this, { raw, lines: [], open: new Map(), changed: new Set(), step: null, lost: false, following: true, drawing: false });
    this.box = h('div', { class: 'tail', role: 'log', 'aria-live': 'off', 'aria-label': 'Log', tabindex: 0, onscroll: () => this.scrolled() });
    this.title = h('h2', {}, 'Log');
    this.older = h('span', { class: 'hint' });
    this.button = h('button', { type: 'button', onclick: () => this.follow(!this.following) });
    this.element = h('section', { class: 'output' }, h('header', { class: 'row' }, this.title, this.older, this.button), this.box);
    this.follow(true);
    this.select(null);
  }

  /** Shows one step, or all for null. */
  select(step) {
    this.step = step;
    this.title.textContent = step ? `Log of ${step}` : 'Log';
    for (const line of this.lines) line.node = null;
    this.box.replaceChildren();
    this.lines.filter((line) => this.shows(line)).slice(-SHOWN).forEach((line) => this.changed.add(line));
    this.tell();
    this.draw();
  }

  /** What the system says about a step, or about the run. */
  note(step, text) {
    this.keep({ step, text, stream: 'note' });
  }

  /** Takes a `system.log` event's data in. */
  chunk({ step, stream, level, text, base64 }) {
    if (stream === 'log') {
      for (const line of text.split('\n')) this.keep({ step, text: level === 'info' ? line : `${level}: ${line}`, stream: `log ${level}` });
      return;
    }
    const open = this.opened(step, stream);
    // Bytes that are not a text by themselves may be the halves of a character.
    const piece = base64 ? open.decoder.decode(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)), { stream: true }) : open.decoder.decode() + text;
    const [first, ...more] = piece.split('\n');
    this.extend(open, first);
    for (const next of more) {
      open.line = null;
      this.extend(open, next);
    }
  }

  opened(step, stream) {
    const key = `${stream} ${step}`;
    if (!this.open.has(key)) this.open.set(key, { step, stream, decoder: new TextDecoder(), line: null });
    return this.open.get(key);
  }

  extend(open, text) {
    while (text !== '') {
      open.line ??= this.keep({ step: open.step, text: '', stream: open.stream });
      const room = LONGEST - open.line.text.length;
      open.line.text += text.slice(0, room);
      this.changed.add(open.line);
      text = text.slice(room);
      if (text !== '') open.line = null;
    }
  }

  /** No more of this step's lines will be finished. */
  ended(step) {
    for (const [key, open] of this.open) if (open.step === step) this.open.delete(key);
  }

  keep(line) {
    this.lines.push(line);
    if (this.lines.length > KEPT * 1.2) {
      this.lines.splice(0, this.lines.length - KEPT);
      this.lost = true;
    }
    this.changed.add(line);
    this.draw();
    return line;
  }

  shows(line) {
    return this.step === null || line.step === this.step;
  }

  draw() {
    if (this.drawing) return;
    this.drawing = true;
    requestAnimationFrame(() => {
      this.drawing = false;
      const lines = [...this.changed].filter((line) => this.shows(line)).slice(-SHOWN);
      this.changed.clear();
      for (const line of lines) this.put(line);
      for (let over = this.box.childElementCount - SHOWN; over > 0; over--) this.box.firstChild.remove();
      if (lines.length > 0) this.tell();
      if (this.following) this.box.scrollTop = this.box.scrollHeight;
    });
  }

  put(line) {
    // After a carriage return the line was written over.
    const text = line.text.replace(/\r+$/, '').split('\r').at(-1);
    const node = h('div', { class: `entry ${line.stream}` }, this.step === null && line.step && h('b', {}, line.step), h('span', {}, coloured(text)));
    if (line.node) line.node.replaceWith(node);
    else this.box.append(node);
    line.node = node;
  }

  tell() {
    const more = this.lost || this.box.childElementCount >= SHOWN;
    const link = this.step && h('a', { href: this.raw(this.step), target: '_blank', rel: 'noopener' }, 'raw log');
    this.older.replaceChildren(...[more && `The last ${SHOWN} lines. `, link, more && !link && 'Choose a step for its raw log.'].filter(Boolean));
  }

  follow(on) {
    this.following = on;
    this.button.setAttribute('aria-pressed', on);
    this.button.textContent = on ? 'Following' : 'Follow';
    if (on) this.box.scrollTop = this.box.scrollHeight;
  }

  scrolled() {
    const bottom = this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight < 24;
    // Scrolling up pauses; coming back to the end goes on.
    if (bottom !== this.following && (bottom || this.box.scrollTop < this.top)) this.follow(bottom);
    this.top = this.box.scrollTop;
  }
}
