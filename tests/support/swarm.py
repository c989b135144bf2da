"""A stack that a swarm of machines serves: its SFTP account, and what its inventory says."""

from pathlib import Path

from tests.support.sshd import SshServer


class Account(SshServer):
    """An SFTP account that the machines reach, and whose authorized keys it can change itself."""

    def __init__(self, directory: Path, address: str) -> None:
        super().__init__(directory)
        self.host = address


def swarm_variables(
    directory: Path, account: Account, name: str, port: int, replicas: int
) -> dict[str, object]:
    """Return the variables of a site whose stack lies below a directory, behind gateways of a name and port."""
    return {
        "lab_dir": str(directory),
        "sftp_host": "tajo.host.ch",
        "sftp_address": account.host,
        "sftp_port": account.port,
        "sftp_user": account.user,
        "sftp_path": str(account.root / "artifacts"),
        "sftp_host_key_fingerprints": [account.host_key_fingerprint],
        "sftp_private_key_file": str(account.client_key),
        "sftp_target_mode": "hosted",
        "mlflow_stack_engine": "swarm",
        "mlflow_stack_replicas": replicas,
        "mlflow_stack_services": ["mlflow"],
        "mlflow_stack_access": "proxied",
        "mlflow_stack_backend_store": "postgresql",
        "mlflow_stack_dir": str(directory / "stack"),
        "mlflow_stack_extra_hosts": {"tajo.host.ch": account.host},
        "mlflow_stack_workers": 1,
        "mlflow_stack_wait_timeout": 300,
        # No login.
        "mlflow_stack_insecure": True,
        "mlflow_gateway_hostname": name,
        "mlflow_gateway_https_port": port,
        "mlflow_gateway_http_port": 0,
        "mlflow_gateway_tls": "self",
        "mlflow_gateway_authority_dir": str(directory / "gateway"),
    }
