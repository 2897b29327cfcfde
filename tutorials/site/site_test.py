#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Builds the site and reads it, as a reader's browser does.

    site_test.py build      the same pages each time
    site_test.py links      every link leads to a page and a place in it, and
                            every page has the tree
    site_test.py reference  include/README.md tells of each section of the
                            header, and its examples compile
    site_test.py browser    Chromium shows all pages well, and they work
    site_test.py shots SITE FOLDER PAGE...
                            keeps pictures of a built site's pages, for people

`browser` looks at each page 1600, 1280 and 400 pixels wide, light and dark: no
error on the console, no scrolling sideways, no markup left in the text, and
text that can be told from what is behind it; a picture is there, whole, and its
letters are big enough; what makes one want to try is on the first screen; a
lesson has at most six screens. Then it searches, copies, unfolds and switches
the theme.

Exit codes: 0 as it should be, 1 it is not, 77 skipped.
"""
import base64
import filecmp
import glob
import html.parser
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from urllib.parse import unquote, urldefrag, urljoin

SITE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(SITE))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(SITE))
import pages_test  # noqa: E402
import tree  # noqa: E402

HEIGHT = 800
WIDTHS = 1600, 1280, 400
THEMES = 'light', 'dark'

problems = []


def problem(text):
    if text not in problems:
        problems.append(text)


def skip(why):
    print('skipped:', why)
    sys.exit(77)


def program(*names):
    found = [shutil.which(name) for name in names if shutil.which(name)]
    return found[0] if found else skip(names[0] + ' is not installed')


def build(folder):
    program('doxygen')
    done = subprocess.run(
        [sys.executable, os.path.join(SITE, 'build'), folder], text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if done.returncode != 0 or done.stderr:
        sys.exit(f'build: exit code {done.returncode}\n{done.stderr}')
    return os.path.join(folder, 'html')


def pages(site):
    return sorted(name for name in os.listdir(site) if name.endswith('.html'))


# -- Building -----------------------------------------------------------------

def test_build(folder):
    one, two = (build(os.path.join(folder, name)) for name in
                ('first', 'again'))
    for where, _, files in os.walk(one):
        there = os.path.join(two, os.path.relpath(where, one))
        _, different, missing = filecmp.cmpfiles(where, there, files, False)
        for name in different + missing:
            problem(f'{name} is not the same when built again')


# -- Links --------------------------------------------------------------------

class Page(html.parser.HTMLParser):
    """The places of a page, its links, and where the tree says it is."""

    def __init__(self, text):
        super().__init__()
        self.places, self.links, self.current = set(), set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.places.update(filter(None, (attributes.get('id'),
                                         attributes.get('name'))))
        self.links.update(filter(None, (attributes.get('href'),
                                        attributes.get('src'))))
        if 'aria-current' in attributes:
            self.current.append(attributes['href'])


def test_links(folder):
    site = build(folder)
    read = {name: Page(tree.read(os.path.join(site, name)))
            for name in pages(site)}
    for name, page in read.items():
        for link in page.links:
            if re.match(r'https://|http://(localhost|127\.0\.0\.1):|'
                        r'javascript:|data:', link):
                continue
            target, place = urldefrag(unquote(urljoin(name, link)))
            if target not in read and \
                    not os.path.exists(os.path.join(site, target)):
                problem(f'{name}: the link {link} leads nowhere')
            elif place and place not in read[target].places:
                problem(f'{name}: {link} names no place of that page')
        if len(page.current) != 1:
            problem(f'{name}: the tree marks {page.current}, not one page')
    in_tree = read['index.html'].links
    for name in {*written(), *(name for name in read if 'group__' in name)}:
        if name not in in_tree or read[name].current != [name]:
            problem(f'{name} is not in the tree: see tree.py')
    for name in 'README.md', 'tutorials/README.md':
        counted = re.findall(r'in (\d+) steps and (\d+) projects',
                             tree.read(os.path.join(TOP, name)))
        if counted != [(str(len(pages_test.steps())),
                        str(len(pages_test.projects())))]:
            problem(f'{name} counts {counted} steps and projects')


def written():
    """The pages that are made of Markdown files."""
    paths = glob.glob('*.md', root_dir=TOP)
    for folder in 'examples', 'include', 'tests', 'tutorials':
        paths += glob.glob(folder + '/**/*.md', root_dir=TOP, recursive=True)
    os.chdir(TOP)
    return map(tree.file_of, paths)


# -- The reference ------------------------------------------------------------

def test_reference(_):
    os.chdir(TOP)
    told = {tree.group(title): words for title, words in re.findall(
        r'^## ([^\n]*)\n(.*?)(?=^## |\Z)', tree.read('include/README.md'),
        re.M | re.S)}
    public = documented()
    for section in sorted(public.keys() ^ told.keys()):
        problem(f'the section {section} is ' + (
            f'not in include/README.md: {public[section]}'
            if section in public else 'not in the header'))
    examples = [re.fullmatch(r'\n[A-Z].*?\.\n\n```cpp\n(.*?)```\n*', words,
                             re.S) for words in told.values()]
    if not all(examples):
        problem('a section of include/README.md is not a sentence or two, and '
                'an example')
    pages_test.compile_lines(found.group(1) for found in examples if found)
    problems.extend(pages_test.problems)


def documented():
    """The sections of the header, each with the first doc comment in it."""
    section, found = '', {}
    lines = tree.read('include/netlite.hpp').splitlines()
    for line, after in zip(lines, lines[1:]):
        if title := re.match('// --- (.*?) -+$', line):
            section = tree.group(title.group(1))
        if re.match('/// ', line) and not after.startswith('namespace'):
            found.setdefault(section, line)
    return found


# -- Chromium, by the WebDriver protocol (w3.org/TR/webdriver) ----------------

class Browser:
    def __init__(self, folder):
        chromium = program('chromium', 'chromium-browser', 'google-chrome')
        self.session = ''
        self.driver = subprocess.Popen(
            [program('chromedriver'), '--port=0'], text=True,
            stdout=subprocess.PIPE)
        try:
            said = ''
            while not re.search(r'successfully on port (\d+)', said):
                said = self.driver.stdout.readline() or sys.exit(
                    'chromedriver does not start')
            self.host = '127.0.0.1:' + re.search(r'\d+', said).group(0)
            self.session = '/' + self.ask('POST', '', capabilities(
                chromium, folder))['sessionId']
        except BaseException:
            self.quit()
            raise

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection(self.host, timeout=120)
        connection.request(method, '/session' + self.session + path,
                           json.dumps(body) if body is not None else None)
        value = json.loads(connection.getresponse().read())['value']
        connection.close()
        if isinstance(value, dict) and 'error' in value:
            raise RuntimeError(value['message'])
        return value

    def devtools(self, command, **arguments):
        return self.ask('POST', '/goog/cdp/execute',
                        {'cmd': command, 'params': arguments})

    def width(self, width):
        self.devtools('Emulation.setDeviceMetricsOverride', width=width,
                      height=HEIGHT, deviceScaleFactor=1, mobile=False)

    def theme(self, theme):
        self.devtools('Emulation.setEmulatedMedia', features=[
            {'name': 'prefers-color-scheme', 'value': theme}])

    def open(self, path):
        self.ask('POST', '/url', {'url': 'file://' + path})

    def run(self, script, *arguments):
        return self.ask('POST', '/execute/sync',
                        {'script': script, 'args': arguments})

    def console(self):
        return [line['message'] for line in
                self.ask('POST', '/se/log', {'type': 'browser'})
                if line['level'] in ('SEVERE', 'WARNING')]

    def elements(self, selector):
        return self.ask('POST', '/elements',
                        {'using': 'css selector', 'value': selector})

    def type(self, selector, text):
        [[element]] = [one.values() for one in self.elements(selector)]
        self.ask('POST', f'/element/{element}/value', {'text': text})

    def enter(self, selector):
        for frame in self.elements(selector):
            self.ask('POST', '/frame', {'id': frame})

    def shot(self, path):
        with open(path, 'wb') as file:
            file.write(base64.b64decode(self.ask('GET', '/screenshot')))

    def quit(self):
        try:
            if self.session:
                self.ask('DELETE', '')
        finally:
            self.driver.terminate()
            self.driver.wait()
            self.driver.stdout.close()


def capabilities(chromium, folder):
    quiet = ['quic', 'gpu', 'sync', 'background-networking',
             'component-update', 'dev-shm-usage']
    return {'capabilities': {'alwaysMatch': {
        'goog:chromeOptions': {
            'binary': chromium,
            'args': ['--headless', '--no-sandbox', '--no-first-run',
                     '--no-proxy-server', '--user-data-dir=' + folder,
                     *('--disable-' + feature for feature in quiet)]},
        'goog:loggingPrefs': {'browser': 'ALL'}}}}


# What a page does not do well, as sentences.
LOOK = r'''
const found = [];
function inBox(element) {  // in one that scrolls by itself
  for (let outer = element.parentElement; outer; outer = outer.parentElement)
    if (outer != document.body && outer != document.documentElement &&
        getComputedStyle(outer).overflowX != 'visible') return true;
  return false;
}
const box = document.scrollingElement;
if (box.scrollWidth > box.clientWidth) {
  const wide = [...box.querySelectorAll('main *')].find(inner =>
      inner.getBoundingClientRect().right > box.clientWidth && !inBox(inner));
  found.push(`it scrolls sideways: ${box.scrollWidth} pixels, because of ` +
             (wide ? wide.outerHTML.slice(0, 120) : 'something'));
}
if (document.querySelectorAll('h1').length != 1)
  found.push('there is not one title');

const here = document.querySelector('.tree [aria-current]');
if (innerWidth > 1000 && !here.getClientRects().length)
  found.push('the tree does not show where the page is');

// Contrast as in WCAG 2: of relative luminances, 4.5 to 1.
function numbers(colour) { return colour.match(/[\d.]+/g).map(Number); }
function luminance(colour) {
  const [r, g, b] = colour.map(part => {
    const c = part / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function over(top, alpha, below) {
  return below.map((part, i) => alpha * top[i] + (1 - alpha) * part);
}
function background(element) {
  if (!element) return [255, 255, 255];
  const [r, g, b, a = 1] = numbers(getComputedStyle(element).backgroundColor);
  return a == 1 ? [r, g, b] : over([r, g, b], a,
                                   background(element.parentElement));
}
function contrast(element, colour) {
  const behind = background(element);
  const [r, g, b, a = 1] = numbers(colour);
  const pair = [over([r, g, b], a, behind), behind].map(luminance);
  return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
}
function markup(text) { return /`|\]\(|@ref|\*\*|^\*\w/.test(text); }
const seen = new Set();
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (markup(walker.currentNode.data) &&
      !element.closest('code, pre, .fragment, .memberdecls, svg, script'))
    found.push(`markup is left: "${walker.currentNode.data.slice(0, 60)}"`);
  const key = [element, element.parentElement].map(
      one => one.tagName + one.getAttribute('class')).join();
  if (seen.has(key)) continue;
  if (!walker.currentNode.data.trim() || !element.getClientRects().length ||
      element.closest('script, style, title, desc, .here')) continue;
  seen.add(key);
  const style = getComputedStyle(element);
  const colour = element.closest('svg') ? style.fill : style.color;
  const ratio = contrast(element, colour);
  if (ratio < 4.5)
    found.push(`"${walker.currentNode.data.trim().slice(0, 30)}" is hard to ` +
               `see: ${colour}, contrast ${ratio.toFixed(1)}`);
}

for (const fold of document.querySelectorAll('main details'))
  if (!fold.querySelector('summary') || fold.childElementCount < 2)
    found.push('a fold has no title, or nothing in it');

if (/step-|index/.test(location.pathname) &&
    !document.querySelector('.picture svg'))
  found.push('there is no picture');
for (const svg of document.querySelectorAll('.picture svg')) {
  const box = svg.getBoundingClientRect();
  if (box.width < 100 || box.height < 100) found.push('a picture is not there');
  if (box.left < 0 || box.right > innerWidth)
    found.push('a picture is wider than the page');
  const scale = svg.getScreenCTM().a;
  for (const text of svg.querySelectorAll('text')) {
    const size = scale * parseFloat(getComputedStyle(text).fontSize);
    if (size < 8 && innerWidth > 1000)
      found.push(`letters of ${size.toFixed(1)} pixels`);
    const inner = text.getBoundingClientRect();
    if (inner.left < box.left - 1 || inner.right > box.right + 1)
      found.push(`"${text.textContent}" is cut off`);
  }
}

// The first screen of the first page: what, for whom, the way in, a run.
for (const part of document.querySelectorAll(
    '.front :is(h1, p, pre, svg, .copy)'))
  if (part.getBoundingClientRect().bottom > innerHeight && scrollY == 0 &&
      !part.closest('figcaption'))
    found.push(`not on the first screen: ${part.outerHTML.slice(0, 60)}`);
return found;
'''


def each_view(browser, site, names):
    for width in WIDTHS:
        browser.width(width)
        for name in names:
            browser.open(os.path.join(site, name))
            for theme in THEMES:
                browser.theme(theme)
                yield name, width, theme


def look(browser, site):
    views, lessons = {}, 0
    for name, width, theme in each_view(browser, site, pages(site)):
        for text in {*browser.run(LOOK), *browser.console()}:
            views.setdefault(text, []).append(f'{name} {width} {theme}')
        lessons += name.startswith('step-')
    for text, where in views.items():
        problem(f'{text}\n    in {len(where)} views: {", ".join(where[:4])}')
    if not lessons:
        problem('there are no lessons')


def until(browser, script, *arguments):
    """What a script returns, as soon as it is something."""
    for _ in range(300):
        value = browser.run('return ' + script, *arguments)
        if value:
            return value
        time.sleep(0.1)
    return None


# What is typed, and where the first thing that is found must be.
WANTED = {
    'socket': 'step-01', 'EAGAIN': 'step-01', 'dial': 'step-01',
    'connection refused': 'step-01', 'end of stream': 'step-02',
    'listen': 'step-03', 'accept': 'step-03', 'address in use': 'step-03',
    'Broken pipe': 'step-04', 'EPIPE': 'step-04', 'deadline': 'step-09',
    'framing': 'step-05', 'IPv6': 'step-06', 'serve': 'step-07',
    'ctrl-c': 'how-do-i', 'listen_packet': 'step-12', 'Poller': 'classnetlite',
}
FIRST = '''[...document.querySelectorAll('#results li')].filter(
    item => item.getClientRects().length && item.querySelector('mark'))
    .map(item => item.querySelector('a').href.split('/').pop())[0]'''
RETURN, DOWN, ESCAPE = '\ue006', '\ue015', '\ue00c'


def search(browser, site):
    """By the keyboard alone."""
    for word, wanted in WANTED.items():
        browser.open(os.path.join(site, 'course.html'))
        browser.type('body', '/')
        browser.type('#search', word)
        first = until(browser, FIRST) or 'nothing'
        if not first.startswith(wanted):
            problem(f'search: "{word}" finds {first} first, not {wanted}')
    browser.type('#search', DOWN)
    second = until(browser, "document.querySelector("
                   "'#results [aria-selected=true] a').href")
    if first in second:
        problem('search: the down key does not go down')
    browser.type('#search', RETURN)
    if not until(browser, 'location.href == arguments[0]', second):
        problem('search: the return key does not go there')
    browser.type('#search', 'xyzzy')
    if not until(browser, "document.querySelector('#results .none')"):
        problem('search: that nothing was found is not said')
    browser.type('#search', ESCAPE)
    if not until(browser, "document.getElementById('results').hidden"):
        problem('search: the escape key does not close the list')


def glossary_leads_on(browser, site):
    """Whatever the glossary explains leads to the step that it names."""
    browser.open(os.path.join(site, 'glossary.html'))
    browser.type('#search', 'a')
    until(browser, "typeof PAGES != 'undefined'")
    for file, words in browser.run(
            'return PAGES.map(page => [page[0], page[3]])'):
        for word in words:
            [first, *_] = browser.run('return lookUp(arguments[0])', word)
            if first['file'] != file:
                problem(f'search: "{word}" finds {first["file"]}, not {file}')


def copying(browser, site):
    browser.devtools('Browser.grantPermissions', permissions=[
        'clipboardReadWrite', 'clipboardSanitizedWrite'])
    browser.open(os.path.join(site, 'index.html'))
    for block, wanted in (('pre.shell', 'sh tutorials/run 1\n'),
                          ('.fragment', '#include "netlite.hpp"\n\n')):
        button = f"document.querySelector('{block} + .copy')"
        browser.run(button + '.click()')
        if not until(browser, button + ".textContent == 'Copied'"):
            problem('a copy button does not say that it has copied')
        browser.run('navigator.clipboard.readText().then('
                    'text => window.copied = text)')
        copied = until(browser, 'window.copied') or ''
        if not copied.startswith(wanted) or '\xa0' in copied:
            problem(f'the copy of {block} is {copied[:60]!r}')


def themes(browser, site):
    browser.open(os.path.join(site, 'index.html'))
    paper = 'return getComputedStyle(document.body).backgroundColor'
    by_name = {}
    for theme in THEMES:
        browser.theme(theme)
        by_name[theme] = browser.run(paper)
    for wanted in 'light', 'dark', 'auto':
        browser.run("document.getElementById('theme').click()")
        browser.open(os.path.join(site, 'course.html'))  # which remembers it
        for theme in THEMES:
            browser.theme(theme)
            real = theme if wanted == 'auto' else wanted
            if browser.run(paper) != by_name[real]:
                problem(f'the theme {wanted} is not {real}')
            browser.open(os.path.join(site, 'step-04-errors.html'))
            for text in browser.run(LOOK):
                problem(f'the theme {wanted}, where the system has {theme}: '
                        + text)


def transcripts(browser, site):
    """They are coloured, and long ones are folded until somebody asks."""
    browser.open(os.path.join(site, 'step-03-server.html'))
    kinds = ['.who-1', '.who-2', '.call', '.quiet', '.failed']
    colours = browser.run('''return arguments[0].map(kind => {
        const one = document.querySelector('pre.run ' + kind);
        return one ? getComputedStyle(one).color : kind;
    })''', kinds)
    if len({*kinds, *colours}) != 2 * len(kinds):
        problem(f'the colours of {kinds} are {colours}')
    fold = browser.run('''
        const button = document.querySelector('.unfold');
        const run = button.previousElementSibling;
        const before = run.clientHeight;
        button.click();
        return [before, run.clientHeight, run.scrollHeight];''')
    if not fold[0] < fold[1] == fold[2]:
        problem(f'a transcript unfolds from {fold[0]} pixels to {fold[1]} of '
                f'{fold[2]}')


def lengths(browser, site):
    """A lesson, or a project's page, has at most six screens of 50 lines, while
    its folds are shut."""
    browser.width(1280)
    for name in pages(site):
        if not name.startswith(('step-', 'project-')):
            continue
        browser.open(os.path.join(site, name))
        lines = browser.run('''
            const page = document.querySelector('.contents');
            const line = getComputedStyle(page.querySelector('p')).lineHeight;
            return page.scrollHeight / parseFloat(line);''')
        if lines > 300:
            problem(f'{name} has {lines:.0f} lines, more than six screens')


def test_browser(folder):
    program('chromedriver')
    site = build(folder)
    browser = Browser(os.path.join(folder, 'profile'))
    try:
        look(browser, site)
        for width in WIDTHS:
            browser.width(width)
            search(browser, site)
        for test in glossary_leads_on, copying, themes, transcripts, lengths:
            test(browser, site)
        for text in browser.console():
            problem(text)
    finally:
        browser.quit()


SCROLL = 'document.scrollingElement.scrollTop = arguments[0];'


def shots(folder, site, where, *views):
    """PAGE@PIXELS is scrolled down so far."""
    site = os.path.abspath(site)
    os.makedirs(where, exist_ok=True)
    browser = Browser(os.path.join(folder, 'profile'))
    try:
        for view in views:
            name, _, down = view.partition('@')
            for page, width, theme in each_view(browser, site, [name]):
                browser.run(SCROLL, int(down or 0))
                browser.shot(os.path.join(
                    where, f'{page[:-5]}{down}-{width}-{theme}.png'))
    finally:
        browser.quit()


def main():
    tests = {'build': test_build, 'links': test_links, 'shots': shots,
             'reference': test_reference, 'browser': test_browser}
    if len(sys.argv) < 2 or sys.argv[1] not in tests:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        tests[sys.argv[1]](folder, *sys.argv[2:])
    for text in problems:
        print(text)
    sys.exit(1 if problems else 0)


if __name__ == '__main__':
    main()
