"""Every command of every page is one that the playbooks, roles and programs of this tree take."""

import re
from pathlib import Path

import pytest

from tests.support.ansible import REPOSITORY
from tests.support.documented_commands import (
    DOCUMENTS,
    commands_of,
    complaints,
    complaints_of_variables,
    options_of,
    split,
)

NAMES = [str(path.relative_to(REPOSITORY)) for path in DOCUMENTS]
_PLAYBOOK = re.compile(r"\b(?:playbooks/)?(\w+)\.yml\b")


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_commands_are_understood(document: Path) -> None:
    wrong = [
        f"{command.where}: {' '.join(command.words)}: {said}"
        for command in commands_of(document)
        for said in complaints(command.words)
    ]
    assert wrong == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_options_are_those_of_a_playbook_that_the_page_names(document: Path) -> None:
    named = {REPOSITORY / "playbooks" / f"{name}.yml" for name in _PLAYBOOK.findall(document.read_text())}
    playbooks = sorted(path for path in named if path.exists())
    wrong = [
        f"{option.where}: {' '.join(option.words)}"
        for option in options_of(document)
        if all(complaints_of_variables(list(option.words[1:]), playbook) for playbook in playbooks)
    ]
    assert wrong == []


def test_the_documentation_has_commands() -> None:
    """Pages that moved, or blocks that are written another way, would pass without being looked at."""
    found = [command.words[0] for document in DOCUMENTS for command in commands_of(document)]
    assert found.count("ansible-playbook") > 70
    assert found.count("mlflow-sftp") > 25
    assert found.count("docker") > 20


@pytest.mark.parametrize(
    "command",
    [
        "ansible-playbook playbooks/storage_switch.yml -e artifact_storage=sftp -e 'experiments=[3,7]'",
        "ansible-playbook playbooks/restore.yml -e snapshot=ID --limit first,mlflow_added_hosts",
        "ansible-playbook -i inventories/tajo --ask-vault-pass freegee.mlflow_sftp.site",
        "ansible mlflow_clients -b -a 'docker compose stop'",
        "ansible-doc -t role freegee.mlflow_sftp.base_image",
        "MLFLOW_SWITCH_FILES=5 .venv/bin/pytest tests/e2e/test_storage_switch.py -k proxied_to_local",
        "bin/test --full",
        ".venv/bin/python tests/bench/compare.py --only large --link 80,1000",
        "mlflow-sftp ls [-r] URI",
        "docker compose run --rm --no-deps -T mlflow mlflow-sftp restore - < mlflow.backup",
        "docker compose exec mlflow sh -c 'mlflow-sftp clean \"$MLFLOW_ARTIFACT_URI\" --check'",
    ],
)
def test_good_commands_pass(command: str) -> None:
    (words,) = split(command)
    assert complaints(words) == []


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("ansible-playbook playbooks/switch.yml", "playbook playbooks/switch.yml is not there"),
        ("ansible-playbook freegee.mlflow_sftp.switch", "playbook freegee.mlflow_sftp.switch is not there"),
        ("ansible-playbook site.yml --dif", "unrecognized arguments: --dif"),
        ("ansible-playbook site.yml --try", "unrecognized arguments: --try"),
        ("ansible-playbook -i inventories/lba site.yml", "inventory inventories/lba"),
        ("ansible-playbook site.yml --limit mlflow_clientele", "group mlflow_clientele is"),
        ("ansible-playbook site.yml -e mlflow_stack_prot=5001", "-e mlflow_stack_prot: neither site.yml"),
        ("ansible-playbook site.yml -e artifact_storage=s3", "-e artifact_storage=s3: none of"),
        ("ansible-playbook playbooks/upgrade.yml -e undoo=true", "-e undoo: neither upgrade.yml"),
        ("ansible-playbook playbooks/upgrade.yml -e undo=1st", "-e undo=1st: neither true nor false"),
        ("ansible-playbook playbooks/upgrade.yml -e resume=back", "-e resume=back: none of"),
        ("ansible-playbook playbooks/rotate.yml -e rotate=ssh_key,token", "none of"),
        ("ansible mlflow_hosts -a uptime", "group mlflow_hosts"),
        ("ansible-doc -t role freegee.mlflow_sftp.base_images", "role base_images is not there"),
        ("ansible-vault make vault.yml", "invalid choice"),
        ("bin/prove", "nobody has said"),
        ("bin/test --most", "test knows no --most"),
        ("bin/test tests/e2e/test_storage_switches.py", "is not there"),
        ("bin/test tests/e2e/test_storage_switch.py -k from_local_to_nowhere", "no such test"),
        (".venv/bin/python tests/bench/compare.py --some", "compare.py knows no --some"),
        ("mlflow-sftp cp FROM TO", "No such command .cp."),
        ("mlflow-sftp clean STORE --dry-run", "No such option"),
        ("mlflow-sftp check URI URI", "check does not take URI"),
        ("docker compose exec mlflo sh", "no service is named mlflo"),
        ("docker compose run --rm mlflow mlflow-sftp migrat", "No such command .migrat."),
        ("docker compose exec train python -m experiments.images", "experiments/images.py is not there"),
        ("bin/demo 'lab", "nobody has said"),
        ("kubectl get pods", "kubectl: nobody has said"),
    ],
)
def test_bad_commands_are_seen(command: str, said: str) -> None:
    (words,) = split(command)
    assert any(re.search(said, complaint) for complaint in complaints(words)), complaints(words)
