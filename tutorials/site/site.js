// SPDX-License-Identifier: MIT
// What a page does besides being read: its theme, search, copying, folding.
// It needs nothing else, and works from a disk as well as from a server.
'use strict';

const root = document.documentElement;

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// -- Theme: as the system has it, or light, or dark ---------------------------

const THEMES = {auto: '◐', light: '☀', dark: '☾'};

function storage(use) {
  try {
    return use(localStorage);
  } catch {
    return null;  // where a page may keep nothing, the theme lasts for a page
  }
}

function setTheme(name) {
  root.dataset.theme = name;
  storage(store => store.setItem('theme', name));
}

const kept = storage(store => store.getItem('theme'));
root.dataset.theme = kept in THEMES ? kept : 'auto';

function themeButton() {
  const button = document.getElementById('theme');
  const names = Object.keys(THEMES);
  const show = () => {
    const name = root.dataset.theme;
    button.replaceChildren(THEMES[name], element('span', {}, ' ' + name));
    button.title = button.ariaLabel = 'Theme: ' + name;
  };
  button.onclick = () => {
    setTheme(names[(names.indexOf(root.dataset.theme) + 1) % names.length]);
    show();
  };
  show();
}

// -- The tree, which a narrow screen hides ------------------------------------

function menuButton() {
  const button = document.getElementById('menu');
  button.onclick = () => {
    const shown = document.body.classList.toggle('with-tree');
    button.setAttribute('aria-expanded', shown);
  };
  // The current page is in sight, wherever the tree is long.
  const tree = document.getElementById('tree');
  const current = tree.querySelector('[aria-current]');
  if (current && current.offsetTop > tree.clientHeight - 60)
    tree.scrollTop = current.offsetTop - tree.clientHeight / 2;
}

// The part that is being read is marked at the right.
function markPart() {
  const links = [...document.querySelectorAll('.toc a')];
  const parts = links.map(link =>
      document.getElementById(decodeURIComponent(link.hash.slice(1))));
  const mark = () => {
    const at = parts.findLastIndex(
        part => part.getBoundingClientRect().top < innerHeight / 4);
    links.forEach((link, i) => i == at
        ? link.setAttribute('aria-current', 'true')
        : link.removeAttribute('aria-current'));
  };
  if (!links.length) return;
  document.addEventListener('scroll', mark, {passive: true});
  mark();
}

// -- Copying ------------------------------------------------------------------

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // older browsers, and pages from a disk
    const area = element('textarea', {value: text, className: 'aside'});
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
}

function codeOf(block) {
  const lines = [...block.querySelectorAll('.line')];
  return lines.length
      ? lines.map(line => line.textContent.trimEnd()).join('\n')
      : block.textContent;
}

function copyButtons() {
  for (const block of document.querySelectorAll('.fragment, pre.shell')) {
    if (block.querySelector('.lineno')) continue;  // the header: it is a file
    const button = element('button', {className: 'copy', textContent: 'Copy'});
    button.onclick = async () => {
      await copy(codeOf(block).replaceAll('\u00a0', ' ').trimEnd() + '\n');
      button.textContent = 'Copied';
      setTimeout(() => button.textContent = 'Copy', 1500);
    };
    const box = element('div', {className: 'box'});
    block.replaceWith(box);
    box.append(block, button);
  }
}

// -- Long transcripts ---------------------------------------------------------

const LONG = 26;  // lines; of more than that, only the first are shown

function folds() {
  for (const run of document.querySelectorAll('pre.run')) {
    const lines = run.textContent.split('\n').length;
    if (lines <= LONG) continue;
    const button = element('button', {className: 'unfold'});
    const fold = folded => {
      run.classList.toggle('folded', folded);
      button.textContent = folded ? `Show all ${lines} lines` : 'Show less';
    };
    button.onclick = () => fold(!run.classList.contains('folded'));
    run.after(button);
    fold(true);
  }
}

// -- Search -------------------------------------------------------------------
// PAGES is [file, title, kind, words, names, parts] of each page; a part is
// [place, heading, text]. See site/build. A page counts when each word that was
// typed is somewhere in it. First come those that are known for it: by the
// glossary, by a name that is new there, by the title; then a heading counts
// more than the text.

function wordsOf(text) {
  return text.toLowerCase().match(/[\p{L}\p{N}_+]+/gu) || [];
}

function pattern(word) {
  return '(?<![\\p{L}\\p{N}_])' + word.replace(/\+/g, '\\+');
}

// How well a text has a word: as it is, as a beginning, or not at all.
function hit(text, word) {
  if (!text.includes(word)) return 0;
  const whole = new RegExp(pattern(word) + '(?![\\p{L}\\p{N}_])', 'u');
  return whole.test(text) ? 1 : new RegExp(pattern(word), 'u').test(text) / 2;
}

function scorePart([, heading, text], words, phrase) {
  const name = heading.toLowerCase(), body = text.toLowerCase();
  return words.reduce(
      (sum, word) => sum + 10 * hit(name, word) + 2 * hit(body, word),
      20 * hit(name, phrase) + 6 * hit(body, phrase));
}

function scorePage([file, title, kind, known, names, parts], words, phrase) {
  const all = [title, ...known, ...names, ...parts.flat()].join(' ')
      .toLowerCase();
  if (!words.every(word => hit(all, word))) return null;
  const best = parts.map(part => [scorePart(part, words, phrase), part])
      .reduce((a, b) => b[0] > a[0] ? b : a);
  const score = kind + best[0] +
      (known.includes(phrase) ? 100 :
       known.some(word => word.startsWith(phrase)) ? 30 : 0) +
      (names.includes(phrase) ? 50 : 0) +
      25 * hit(title.toLowerCase(), phrase);
  return {score, file, title, part: best[1]};
}

function lookUp(query) {
  const words = wordsOf(query), phrase = words.join(' ');
  if (!words.length) return [];
  return PAGES.map(page => scorePage(page, words, phrase))
      .filter(found => found)
      .sort((a, b) => b.score - a.score || (a.file < b.file ? -1 : 1))
      .slice(0, 8);
}

// A piece of the text around the first word, with all of them marked.
function excerpt(text, words) {
  const at = Math.max(0, text.toLowerCase().indexOf(words[0]));
  const start = at < 50 ? 0 : text.indexOf(' ', at - 45) + 1;
  const piece = (start ? '… ' : '') + text.slice(start, start + 150) +
      (start + 150 < text.length ? ' …' : '');
  return marked(piece, words);
}

function marked(text, words) {
  const any = new RegExp(`(${words.map(pattern).join('|')})`, 'iu');
  return text.split(any).map(
      (piece, i) => i % 2 ? element('mark', {}, piece) : piece);
}

function resultItem(found, words, i) {
  const [place, heading, text] = found.part;
  const link = element('a', {href: found.file + (place ? '#' + place : ''),
                             tabIndex: -1},
      element('strong', {}, ...marked(found.title, words)),
      ...(heading ? [' › ', ...marked(heading, words)] : []),
      element('small', {}, ...excerpt(text, words)));
  const item = element('li', {id: 'result-' + i}, link);
  item.setAttribute('role', 'option');
  return item;
}

function search() {
  const field = document.getElementById('search');
  const list = document.getElementById('results');
  let chosen = 0;

  const choose = i => {
    const items = [...list.querySelectorAll('[role=option]')];
    chosen = items.length ? (i + items.length) % items.length : 0;
    items.forEach((item, at) => item.ariaSelected = at == chosen);
    if (items.length) items[chosen].scrollIntoView({block: 'nearest'});
    field.setAttribute('aria-activedescendant', 'result-' + chosen);
  };
  const show = shown => {
    list.hidden = !shown;
    field.setAttribute('aria-expanded', shown);
  };
  const update = () => {
    const words = wordsOf(field.value);
    if (!words.length || typeof PAGES == 'undefined') return show(false);
    const found = lookUp(field.value);
    list.replaceChildren(...found.map((one, i) => resultItem(one, words, i)));
    if (!found.length) list.append(element('li', {className: 'none'},
        `Nothing has “${field.value.trim()}” in it.`));
    show(true);
    choose(0);
  };
  const load = () => {  // the index, when somebody wants it
    if (document.getElementById('index')) return;
    document.head.append(element('script',
        {id: 'index', src: 'search.js', onload: update}));
  };

  field.onfocus = () => { load(); update(); };
  field.oninput = () => { load(); update(); };
  field.onkeydown = event => {
    const step = {ArrowDown: 1, ArrowUp: -1}[event.key];
    if (step) choose(chosen + step);
    else if (event.key == 'Escape') { show(false); field.blur(); }
    else if (event.key == 'Enter' && !list.hidden)
      list.querySelector('[aria-selected=true] a')?.click();
    else return;
    event.preventDefault();
  };
  document.addEventListener('click', event => {
    if (!event.target.closest('.search')) show(false);
  });
  list.addEventListener('click', () => show(false));
  document.addEventListener('keydown', event => {
    if (event.key == '/' && !/INPUT|TEXTAREA/.test(event.target.tagName) ||
        event.key == 'k' && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      field.select();
      field.focus();
    }
  });
}

document.addEventListener('DOMContentLoaded', () => {
  themeButton();
  menuButton();
  markPart();
  copyButtons();
  folds();
  search();
});
