#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Builds the site and reads it, as a reader's browser does.

    site_test.py build     the same pages each time, with and without a theme
    site_test.py links     every link leads to a page and a place in it
    site_test.py browser   Chromium shows all pages well
    site_test.py shots SITE FOLDER PAGE...
                              keeps pictures of a built site's pages, for people

`browser` looks at each page 1280 and 400 pixels wide, light and dark: no error
on the console, no scrolling sideways, no markup left in the text, and text that
can be told from what is behind it; a picture is there, whole, and its letters
are big enough; search finds `dial`.

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
WIDTHS = 1280, 400
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


def build(folder, **other):
    done = subprocess.run(
        [program('doxygen')], cwd=TOP, text=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=dict(os.environ, DOXYGEN_OUTPUT=folder, **other))
    if done.returncode != 0 or done.stderr:
        problem(f'doxygen: exit code {done.returncode}\n{done.stderr}')
    return os.path.join(folder, 'html')


def pages(site):
    return sorted(name for name in os.listdir(site) if name.endswith('.html'))


# -- Building -----------------------------------------------------------------

def test_build(folder):
    first, again, plain = (os.path.join(folder, name) for name in
                           ('first', 'again', 'plain'))
    for name in first, again, plain:
        os.mkdir(name)
    one, two = build(first), build(again)
    build(plain, DOXYGEN_STYLE='')
    for where, _, files in os.walk(one):
        there = os.path.join(two, os.path.relpath(where, one))
        _, different, missing = filecmp.cmpfiles(where, there, files, False)
        for name in different + missing:
            problem(f'{name} is not the same when built again')


# -- Links --------------------------------------------------------------------

class Page(html.parser.HTMLParser):
    """The places of a page, and its links."""

    def __init__(self, text):
        super().__init__()
        self.places, self.links = set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.places.update(filter(None, (attributes.get('id'),
                                         attributes.get('name'))))
        self.links.update(filter(None, (attributes.get('href'),
                                        attributes.get('src'))))


def test_links(folder):
    site = build(folder)
    read = {}
    for name in pages(site):
        with open(os.path.join(site, name), encoding='utf-8') as file:
            read[name] = Page(file.read())
    for name, page in read.items():
        for link in page.links:
            if re.match(r'https://|javascript:', link):
                continue
            target, place = urldefrag(unquote(urljoin(name, link)))
            if target not in read and \
                    not os.path.exists(os.path.join(site, target)):
                problem(f'{name}: the link {link} leads nowhere')
            elif place and place not in read[target].places:
                problem(f'{name}: {link} names no place of that page')
    with open(os.path.join(site, 'navtreedata.js'), encoding='utf-8') as file:
        tree = re.findall(r'"([^"]*\.html)"', file.read())
    for name in written():
        if name not in tree:
            problem(f'{name} is not in the tree: see layout.xml')
    for name in read:
        if name.startswith('group__') and \
                not (name in tree and name in read['reference.html'].links):
            problem(f'{name}: a section that is missing in layout.xml, or in '
                    'the table of include/README.md')


def written():
    """The pages that are made of Markdown files."""
    paths = glob.glob(TOP + '/*.md')
    for folder in 'examples', 'include', 'tests', 'tutorials':
        paths += glob.glob(f'{TOP}/{folder}/**/*.md', recursive=True)
    for path in paths:
        text = subprocess.run(
            [sys.executable, os.path.join(SITE, 'filter'), path], cwd=TOP,
            text=True, stdout=subprocess.PIPE).stdout
        name = re.match(r'# .*\{#([\w-]+)\}', text).group(1)
        yield ('index' if name == 'mainpage' else name) + '.html'


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
                      height=900, deviceScaleFactor=1, mobile=False)

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
  for (let outer = element.parentElement; outer && outer.id != 'doc-content';
       outer = outer.parentElement)
    if (getComputedStyle(outer).overflowX != 'visible') return true;
  return false;
}
for (const box of [document.scrollingElement,
                   document.getElementById('doc-content')]) {
  if (!box || box.scrollWidth <= box.clientWidth) continue;
  const edge = box.getBoundingClientRect().left + box.clientWidth;
  const wide = [...box.querySelectorAll('*')].find(
      inner => inner.getBoundingClientRect().right > edge && !inBox(inner));
  found.push(`it scrolls sideways: ${box.scrollWidth} pixels, because of ` +
             (wide ? wide.outerHTML.slice(0, 120) : 'something'));
}

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
const walker = document.createTreeWalker(
    document.querySelector('.contents') || document.body,
    NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (markup(walker.currentNode.data) &&
      !element.closest('code, pre, .fragment, .memberdecls, svg, script'))
    found.push(`markup is left: "${walker.currentNode.data.slice(0, 60)}"`);
  const key = [element, element.parentElement].map(
      one => one.tagName + one.getAttribute('class')).join();
  if (seen.has(key)) continue;
  seen.add(key);
  if (!walker.currentNode.data.trim() || !element.getClientRects().length ||
      element.closest('script, style, title, desc')) continue;
  const style = getComputedStyle(element);
  const colour = element.closest('svg') ? style.fill : style.color;
  const ratio = contrast(element, colour);
  if (ratio < 4.5)
    found.push(`"${walker.currentNode.data.trim().slice(0, 30)}" is hard to ` +
               `see: ${colour}, contrast ${ratio.toFixed(1)}`);
}

for (const fold of document.querySelectorAll('details'))
  if (!fold.querySelector('summary') || fold.childElementCount < 2)
    found.push('a fold has no title, or nothing in it');

if (/step-/.test(location.pathname) && !document.querySelector('.picture svg'))
  found.push('a lesson has no picture');
for (const svg of document.querySelectorAll('.picture svg')) {
  const box = svg.getBoundingClientRect();
  if (box.width < 100 || box.height < 100) found.push('a picture is not there');
  const scale = svg.getScreenCTM().a;
  for (const text of svg.querySelectorAll('text')) {
    const size = scale * parseFloat(getComputedStyle(text).fontSize);
    if (size < 9) found.push(`letters of ${size.toFixed(1)} pixels`);
    const inner = text.getBoundingClientRect();
    if (inner.left < box.left || inner.right > box.right + 1)
      found.push(`"${text.textContent}" is cut off`);
  }
}
return found;
'''

FOUND = r'''
return [...document.querySelectorAll('.SRResult')].some(
    result => result.innerText.trim().startsWith(arguments[0]) &&
              result.getClientRects().length);
'''


def each_view(browser, site, names):
    for width in WIDTHS:
        browser.width(width)
        for name in names:
            browser.open(os.path.join(site, name))
            for theme in THEMES:
                browser.theme(theme)
                yield name, width, theme


def search(browser, site, word):
    browser.open(os.path.join(site, 'index.html'))
    browser.type('#MSearchField', word)
    browser.enter('iframe#MSearchResults')  # there until Doxygen 1.9.5
    for _ in range(200):
        if browser.run(FOUND, word):
            return
        time.sleep(0.1)  # until the list is shown
    problem(f'search does not find {word}')


def test_browser(folder):
    program('chromedriver')
    site = build(folder)
    browser = Browser(os.path.join(folder, 'profile'))
    try:
        views, lessons = {}, 0
        for name, width, theme in each_view(browser, site, pages(site)):
            for text in {*browser.run(LOOK), *browser.console()}:
                views.setdefault(text, []).append(f'{name} {width} {theme}')
            lessons += name.startswith('step-')
        for text, where in views.items():
            problem(f'{text}\n    in {len(where)} views: '
                    f'{", ".join(where[:4])}')
        if not lessons:
            problem('there are no lessons')
        for width in WIDTHS:
            browser.width(width)
            search(browser, site, 'dial')
    finally:
        browser.quit()


SCROLL = '''
for (const id of ['doc-content', null])
  (id ? document.getElementById(id) : document.scrollingElement)
      .scrollTop = arguments[0];
'''


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
    tests = {'build': test_build, 'links': test_links,
             'browser': test_browser, 'shots': shots}
    if len(sys.argv) < 2 or sys.argv[1] not in tests:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        tests[sys.argv[1]](folder, *sys.argv[2:])
    for text in problems:
        print(text)
    sys.exit(1 if problems else 0)


if __name__ == '__main__':
    main()
