// The frame: which page is shown, signing in and out.

import { api, showConnection } from './api.js';
import { board } from './board.js';
import { h } from './dom.js';
import { run } from './run.js';
import { runbooks } from './runbooks.js';
import { start } from './start.js';

const main = document.getElementById('main');
let close = () => {};

function navigate(event) {
  const [path, query] = location.hash.replace(/^#\/?/, '').split('?');
  const [noun, id] = path.split('/');
  const page = noun === 'runs' && id ? 'run' : noun === 'runbooks' ? 'runbooks' : 'board';
  close();
  main.replaceChildren();
  main.className = page;
  document.body.classList.remove('out');
  document.title = 'opsroom';
  for (const link of document.querySelectorAll('nav a[data-page]')) {
    if (link.dataset.page === page) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  if (page === 'run') close = run(main, id);
  else if (page === 'runbooks') close = runbooks(main);
  else close = board(main, new URLSearchParams(query));
  if (event) main.focus({ preventScroll: true });
}

function signIn() {
  close();
  close = () => {};
  document.querySelector('dialog')?.close();
  document.body.classList.add('out');
  showConnection('out');
  main.className = 'sign-in';
  main.replaceChildren(h('section', { class: 'panel' },
    h('h1', {}, 'Sign in'),
    h('p', {}, 'On the machine where opsroom runs, say'),
    h('pre', {}, h('code', {}, 'opsroom open')),
    h('p', {}, 'It opens this page signed in, or prints a link that does. A link works once, within 60 seconds.'),
    h('button', { class: 'primary', onclick: () => navigate(true) }, 'Try again')));
}

window.addEventListener('hashchange', navigate);
window.addEventListener('signed-out', signIn);
document.getElementById('start').addEventListener('click', () => start());
document.getElementById('logout').addEventListener('click', () => api('/logout', { method: 'POST' }).catch(() => {}).then(signIn));
document.getElementById('skip').addEventListener('click', (event) => { event.preventDefault(); main.focus(); });
navigate();
