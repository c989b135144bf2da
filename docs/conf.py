"""How Sphinx makes the site of these pages; bin/docs runs it, with the collection's own documentation beside them."""

import re
from importlib.metadata import version as installed_version

from docutils import nodes
from sphinx.addnodes import pending_xref, toctree
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

project = "freegee.mlflow_sftp"
author = "FreeGee engineering"
project_copyright = "2026 FreeGee engineering"
# The collection's too.
release = installed_version("mlflow-sftp")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_antsibull_ext"]
# Links to headings are compared with the headings, as a forge spells them.
myst_heading_anchors = 4
highlight_language = "text"
# Docstrings write `code` as Markdown does.
default_role = "code"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"

html_theme = "furo"
html_title = f"{project} {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
# Those of site.css.
antsibull_ext_color_scheme = "none"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False

# What antsibull-docs refers to in Ansible's documentation, whose inventory of labels would have to be fetched.
ANSIBLE = "https://docs.ansible.com/projects/ansible/latest"
LABELS = {
    "action_plugins": "plugins/action.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
    "common_return_values": "reference_appendices/common_return_values.html",
}
KINDS = ("connection", "filter", "module", "role", "test")
PLUGIN = re.compile(r"ansible_collections\.(?!freegee\.mlflow_sftp\.)(\w+)\.(\w+)\.(\w+)$")


def find_in_ansible(
    _app: Sphinx, _environment: BuildEnvironment, reference: pending_xref, text: nodes.TextElement
) -> nodes.reference | None:
    """The place of a label in Ansible's documentation; None for one that has none there, which is then a warning."""
    label = reference["reftarget"]
    page = LABELS.get(label)
    if plugin := PLUGIN.match(label):
        page = "collections/{}/{}/{}.html".format(*plugin.groups())
    return nodes.reference("", "", text, refuri=f"{ANSIBLE}/{page}") if page else None


def fit_to_theme(_app: Sphinx, page: nodes.document) -> None:
    """antsibull-docs makes pages for its own site: here the theme lists headings, and the menu has room for names."""
    for contents in [topic for topic in page.findall(nodes.topic) if "contents" in topic["classes"]]:
        contents.parent.remove(contents)
    for tree in page.findall(toctree):
        tree["entries"] = [(title or short_name(target), target) for title, target in tree["entries"]]


def short_name(target: str) -> str | None:
    """`sftp_check` for `collection/sftp_check_module`; None, which means its title, for what is no plugin or role."""
    name, _, kind = target.removeprefix("collection/").rpartition("_")
    if not target.startswith("collection/") or kind not in KINDS:
        return None
    return name if kind == "module" else f"{name} ({kind})"


def setup(app: Sphinx) -> None:
    app.connect("missing-reference", find_in_ansible)
    # Before Sphinx collects the trees of pages and headings, which is done at 500.
    app.connect("doctree-read", fit_to_theme, priority=400)
