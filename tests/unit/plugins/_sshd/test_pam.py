"""The account rules of a PAM stack, as far as they name modules."""

from pathlib import Path

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sshd.pam import Rule, account_rules

_SSHD = """
auth       include      other
account    required     pam_nologin.so  # not while booting
# account  required     pam_access.so
-account   [success=1 default=ignore] /lib/security/pam_unix.so \\
    broken_shadow
@include common-account
account    substack     rest
"""


def test_account_rules(tmp_path: Path) -> None:
    (tmp_path / "sshd").write_text(_SSHD)
    (tmp_path / "common-account").write_text("account\trequisite\tpam_shells.so\n")
    (tmp_path / "rest").write_text("account include sshd\naccount required pam_access.so accessfile=/etc/a\n")
    rules = account_rules("sshd", tmp_path)
    assert rules[:3] == [Rule("pam_nologin.so"), Rule("pam_unix.so", "broken_shadow"), Rule("pam_shells.so")]
    assert Rule("pam_access.so", "accessfile=/etc/a") in rules
