# SPDX-License-Identifier: MIT
"""What pages the site has, what they are called, and in which order they are
read. All paths are from the top folder.

Steps are found by their folders and sections of the reference by the headings
of include/README.md; any other page has a line in TREE.
"""
import glob
import os
import re
from collections import namedtuple

Page = namedtuple('Page', 'path name title children')

NAMES = {'': 'mainpage', 'tutorials': 'course', 'include': 'reference',
         'tests/bench': 'benchmarks', 'tests/interop/go': 'go-tests'}


def read(path):
    with open(path, encoding='utf-8') as file:
        return file.read()


def slug(heading):
    """The anchor that code-hosting sites give a heading."""
    return re.sub(r'[^\w\- ]', '', heading.strip().lower()).replace(' ', '-')


def label(path):
    """What a file's page is called; nothing if it has none."""
    folder, name = os.path.split(os.path.normpath(path))
    if os.path.isdir(path):
        folder, name = os.path.normpath(path), 'README.md'
    if not name.endswith('.md') or not os.path.exists(f'{folder or "."}/{name}'):
        return None
    if name != 'README.md':
        return name[:-3].lower()
    if re.search(r'/\d\d-', folder):
        return 'step-' + os.path.basename(folder)
    if re.fullmatch(r'tutorials/\w+', folder):
        return 'project-' + os.path.basename(folder)
    return NAMES.get(folder, folder)


def headings(path):
    text = re.sub(r'^```.*?^```$', '', read(path), flags=re.M | re.S)
    return re.findall(r'^## (.*)$', text, re.M)


def group(section):
    """What the group of a section is called: `Many at once: ...`."""
    return slug(section.split(':')[0])


def sections():
    """The headings of include/README.md that are sections of the header."""
    titles = {group(title) for title in re.findall(
        r'^// --- (.*?) -+$', read('include/netlite.hpp'), re.M)}
    return [title for title in headings('include/README.md')
            if group(title) in titles]


def file_of(path):
    name = label(path)
    return ('index' if name == 'mainpage' else name) + '.html'


def page(path, title, children=()):
    return Page(path, file_of(path), title, list(children))


def steps():
    """`1. Hello` of a page whose title is `Hello: what a socket is`."""
    for path in sorted(glob.glob('tutorials/[0-9][0-9]-*/README.md')):
        title = read(path).partition('\n')[0].lstrip('# ').partition(':')[0]
        number = int(re.search(r'/(\d\d)-', path).group(1))
        yield page(path, f'{number}. {title}')
        yield from projects_after(os.path.basename(os.path.dirname(path)))


def projects_after(step):
    """Those whose pages need this step, and none that comes later."""
    for path in sorted(glob.glob('tutorials/[a-z]*/README.md')):
        text = read(path)
        if re.search(rf'^\*Needs: \[step \d+\]\(\.\./{step}/', text, re.M):
            yield page(path, text.partition('\n')[0].lstrip('# '))


def section_pages():
    for title in sections():
        yield Page(None, f'group__{group(title)}.html',
                   title.partition(':')[0], [])


def tree():
    """The captions of the tree, with the pages under each."""
    return [
        ('', [page('README.md', 'netlite')]),
        ('Learn', [
            page('tutorials/README.md', 'The course', steps()),
            page('tutorials/glossary.md', 'Glossary')]),
        ('Look up', [
            page('tutorials/how-do-i.md', 'How do I …?'),
            page('include/README.md', 'The reference', section_pages()),
            Page(None, 'netlite_8hpp_source.html', 'The header itself', []),
            page('examples/README.md', 'Examples')]),
        ('The project', [
            page('tests/bench/README.md', 'How fast is it?'),
            page('tests/tables_left_out.md', 'What is left out'),
            page('tests/interop/go/README.md', "Go's own tests"),
            page('CONTRIBUTING.md', 'Contributing'),
            page('tutorials/for-authors.md', 'For authors'),
            page('CHANGELOG.md', 'Changes')])]
