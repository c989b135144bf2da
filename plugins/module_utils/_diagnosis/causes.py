# SPDX-License-Identifier: GPL-3.0-or-later
"""Every cause of failure the modules can name: the one table behind messages, reports and documentation.

Remedies hold placeholders such as ``{host}``; `DiagnosedError.remedy` fills them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

STAGES = (
    "resolve",
    "connect",
    "banner",
    "host_key",
    "authenticate",
    "sftp",
    "path",
    "write",
    "read",
    "rename",
    "delete",
    "link",
)


@dataclass(frozen=True)
class Cause:
    """One named reason for a failed stage.

    Attributes:
        code: Stable name that plays and monitoring may compare with.
        stage: The stage that finds it, one of `STAGES`, ``mlflow``, ``space``, ``gateway`` or ``any``.
        meaning: What is wrong, one sentence without a full stop.
        remedy: What to change, with placeholders for what is only known when it happens.
    """

    code: str
    stage: str
    meaning: str
    remedy: str


# The first four are the failures of the classic set-up guide, in its order; the rest follows the stages.
_TABLE = (
    Cause(
        "connection_refused",
        "connect",
        "Connection refused: the machine is there, but nothing listens on this port",
        "Check sftp_port ({port}) and sftp_host ({host}); on the server, start sshd and see that it "
        "listens on this port (ss -tln).",
    ),
    Cause(
        "auth_refused",
        "authenticate",
        "Permission denied: the server refuses this user with the keys or password offered",
        "Put the public half of {key} into the authorized_keys of {user} on {host}, and check "
        "sftp_user. On a server you administer, sshd's log says why (often the mode of the home "
        "directory or of authorized_keys).",
    ),
    Cause(
        "path_missing",
        "path",
        "No such path: the login works, but the server shows no such directory",
        "Correct sftp_path ({path}) to a directory as SFTP shows it, or create it (role sftp_target, "
        "or mkdir in an sftp session).",
    ),
    Cause(
        "host_key_changed",
        "host_key",
        "Host key verification failed: the server's key is not the trusted one",
        "Ask whoever runs {host} over another channel whether the key was replaced. Only if they "
        "confirm the new fingerprint, put it into sftp_host_key_fingerprints and run site.yml; if "
        "they do not, someone may be in between: stop.",
    ),
    Cause(
        "ssh_config_unreadable",
        "resolve",
        "The SSH client configuration cannot be read",
        "Make {ssh_config} exist, be readable by this user and be valid (ssh -G -F FILE {host} checks"
        " it); site.yml (role sftp_client) writes it.",
    ),
    Cause(
        "name_unresolved",
        "resolve",
        "The name does not resolve to an address",
        "Correct the name {address}, or give the TCP address in sftp_address, or add the name to DNS "
        "or /etc/hosts.",
    ),
    Cause(
        "resolver_unavailable",
        "resolve",
        "No name server answers, so the name cannot be looked up",
        "Check /etc/resolv.conf and the way to the name servers (UDP and TCP port 53), or give an IP "
        "address in sftp_address instead of {address}.",
    ),
    Cause(
        "connection_timeout",
        "connect",
        "Nothing answers: packets are dropped, or the machine is off",
        "Have the firewalls on the way let TCP port {port} to {address} through, outgoing here and "
        "incoming there, and check that the machine is up.",
    ),
    Cause(
        "no_route",
        "connect",
        "There is no route to the machine, or a firewall rejects the way to it",
        "Check the route (ip route get {address}), the VPN if one is needed, and firewalls that "
        "reject port {port}.",
    ),
    Cause(
        "not_ssh",
        "banner",
        "Something else than an SSH server answers on this port",
        "Correct sftp_port ({port}): what answers there greets as shown, not with 'SSH-2.0-'.",
    ),
    Cause(
        "banner_timeout",
        "banner",
        "The port accepts connections, but the server says nothing",
        "Look at the server behind {host}:{port}: it hangs or is overloaded, or a proxy accepts "
        "connections for a server that is down. Restart it.",
    ),
    Cause(
        "closed_early",
        "banner",
        "The server hangs up before it greets",
        "Look for a ban or an access list on {host} (fail2ban, hosts.deny, the provider's firewall) "
        "that names this client's address, and for too many connections at once (MaxStartups).",
    ),
    Cause(
        "too_many_connections",
        "banner",
        "The server has too many connections that are not logged in yet",
        "Wait for others to finish; on a server you administer raise MaxStartups, and look for "
        "clients that open connections without logging in.",
    ),
    Cause(
        "client_penalised",
        "banner",
        "The server turns this client away for a while because of earlier failures",
        "Stop the client that keeps failing to log in, then wait (minutes); on a server you "
        "administer see PerSourcePenalties and PerSourcePenaltyExemptList in sshd_config.",
    ),
    Cause(
        "host_key_unknown",
        "host_key",
        "Host key verification failed: nothing says which key to expect of this server",
        "Ask whoever runs {host} for the SHA256 fingerprint, put it into sftp_host_key_fingerprints "
        "and run site.yml, which writes {known_hosts}; playbooks/pin_host_key.yml shows what to "
        "compare.",
    ),
    Cause(
        "host_key_other_algorithm",
        "host_key",
        "The trusted key is of an algorithm that the server no longer offers",
        "Ask whoever runs {host} for the fingerprint of one of the keys shown and add it to "
        "sftp_host_key_fingerprints, or have them offer the old algorithm again.",
    ),
    Cause(
        "host_key_revoked",
        "host_key",
        "The server shows a key that {known_hosts} marks as revoked",
        "Do not connect. Ask whoever runs {host} to replace the host key, then pin the new one.",
    ),
    Cause(
        "host_certificate_invalid",
        "host_key",
        "The server's host certificate does not hold: wrong authority, name or time",
        "Ask whoever runs {host} to sign the host key again for the name {host}, with an authority "
        "that {known_hosts} lists as @cert-authority; check the clocks.",
    ),
    Cause(
        "known_hosts_unreadable",
        "host_key",
        "The file with the trusted host keys cannot be read",
        "Make {known_hosts} exist and be readable by this user; site.yml (role sftp_client) writes it.",
    ),
    Cause(
        "no_common_algorithm",
        "host_key",
        "Client and server have no cryptographic algorithm in common",
        "Update the older side. On the server see KexAlgorithms, Ciphers, MACs and HostKeyAlgorithms.",
    ),
    Cause(
        "algorithm_missing_here",
        "host_key",
        "The server takes only algorithms that the modules' SSH library lacks, although ssh may have them",
        "Have {host} offer one of the algorithms of this side as well, or update {library}, which lacks {algorithms}. "
        "The artifact store uses another library and may get in.",
    ),
    Cause(
        "key_missing",
        "authenticate",
        "There is no private key to log in with",
        "Put the private key at {key}, or correct the path (sftp_private_key_file; IdentityFile in "
        "the client configuration).",
    ),
    Cause(
        "key_unreadable",
        "authenticate",
        "The private key file exists, but this user may not read it",
        "Give {key} to the user that reads it (chown) with mode 0600, and let that user search its "
        "directory.",
    ),
    Cause(
        "key_too_open",
        "authenticate",
        "The private key can be read by others, so OpenSSH refuses to use it",
        "chmod 600 {key}. If others may have read it, make a new key.",
    ),
    Cause(
        "key_encrypted",
        "authenticate",
        "The private key is protected by a passphrase, and none was given",
        "Give private_key_passphrase, or for services nobody sits at, use a key of its own without a "
        "passphrase instead of {key}.",
    ),
    Cause(
        "key_passphrase_wrong",
        "authenticate",
        "The passphrase does not open the private key",
        "Correct the passphrase given for {key} (private_key_passphrase, from the vault).",
    ),
    Cause(
        "key_format",
        "authenticate",
        "The file is not a private key that SSH libraries can use",
        "Replace {key} by an ed25519, ECDSA or RSA key in OpenSSH format: ssh-keygen -p -f FILE "
        "rewrites PEM keys, puttygen FILE -O private-openssh converts PuTTY's.",
    ),
    Cause(
        "user_certificate_invalid",
        "authenticate",
        "The server refuses this user, and the certificate of the key has expired or is for somebody else",
        "Have the authority issue a new certificate (ssh-keygen -s AUTHORITY -I ID -n {user} -V +52w KEY.pub) "
        "in place of {certificate}, name it in sftp_certificate_file and run site.yml.",
    ),
    Cause(
        "auth_method_refused",
        "authenticate",
        "The server does not take the kind of login offered",
        "Offer one of the methods shown; on a server you administer, allow 'publickey' for {user} "
        "(PubkeyAuthentication, AuthenticationMethods, Match blocks).",
    ),
    Cause(
        "auth_incomplete",
        "authenticate",
        "The server accepts the key, and then wants something more",
        "Have the second factor dropped for {user} (AuthenticationMethods publickey): services cannot"
        " type one.",
    ),
    Cause(
        "auth_attempts_used_up",
        "authenticate",
        "The server hangs up after too many attempts, before all keys were tried",
        "Offer fewer keys: name the one key for {user} (sftp_private_key_file, IdentityFile), or have MaxAuthTries "
        "raised on {host}.",
    ),
    Cause(
        "signature_refused",
        "authenticate",
        "The server takes no signature that the private key can make",
        "Use an ed25519 key instead of {key}, or have {host} take rsa-sha2-512 (PubkeyAcceptedAlgorithms): signatures "
        "with SHA-1 are made no more.",
    ),
    Cause(
        "no_sftp_subsystem",
        "sftp",
        "The login works, but the server offers no SFTP",
        "Enable SFTP for {user} on {host}: 'Subsystem sftp internal-sftp' in sshd_config, or the "
        "hosting provider's switch for SFTP access.",
    ),
    Cause(
        "login_cut_short",
        "sftp",
        "The server accepts the login, and then ends the connection",
        "Look at the log of {host}: often the directory of a chroot belongs to somebody else than root or can be "
        "written by a group, or the account of {user} has expired. If it happens now and then only, look at the line.",
    ),
    Cause(
        "sftp_garbled",
        "sftp",
        "Something other than SFTP comes through the SFTP channel",
        "Remove what prints text at login of {user} on {host} (.bashrc, .profile, a ForceCommand that"
        " is a shell): `ssh -p {port} {user}@{host} true` must print nothing.",
    ),
    Cause(
        "path_not_directory",
        "path",
        "The path is there, but it is not a directory",
        "Correct sftp_path ({path}), or move away the file that has this name.",
    ),
    Cause(
        "path_denied",
        "path",
        "The directory may not be entered or listed by this user",
        "Give {user} read and search permission on {path} and on every directory above it.",
    ),
    Cause(
        "path_other_root",
        "path",
        "The path is written for another root than the one the server shows to this user",
        "Set sftp_path to the path shown: SFTP paths start at the root the login sees (a chroot), not"
        " at the server's own.",
    ),
    Cause(
        "path_read_only",
        "write",
        "The directory can be read but not written",
        "Give {user} write permission on {path} (owner or mode on the server), or have the file "
        "system mounted read-write.",
    ),
    Cause(
        "no_space",
        "write",
        "The server has no space left for this directory",
        "Free space or inodes on the file system that holds {path} on {host}, or have it enlarged.",
    ),
    Cause(
        "write_failed",
        "write",
        "The server refuses to store data and does not say why",
        "Look for a quota or a limit of file size for {user} on {host}: SFTP has no word for it. The "
        "server's log may have one.",
    ),
    Cause(
        "clock_skew",
        "write",
        "The clocks of client and server differ",
        "Have both clocks set by NTP (timedatectl; for {host}, ask whoever runs it): certificates may"
        " count as expired, and what broken uploads left behind is judged by its age.",
    ),
    Cause(
        "read_failed",
        "read",
        "A file can be written, but not read back",
        "Give {user} read permission on new files in {path}: look at the umask the server sets "
        "(internal-sftp -u).",
    ),
    Cause(
        "content_differs",
        "read",
        "The bytes read back are not the bytes written",
        "Stop using this storage and have {host} checked: its file system or something in between "
        "changes data.",
    ),
    Cause(
        "rename_failed",
        "rename",
        "A file can be written, but not renamed",
        "Give {user} the right to rename in {path}: uploads are written to a temporary name and then "
        "renamed.",
    ),
    Cause(
        "rename_not_atomic",
        "rename",
        "The server cannot replace a file in one step (no posix-rename@openssh.com)",
        "Nothing must be changed: replacing removes the old file first, so a reader may miss it for a"
        " moment. Overwrite no artifacts while they are read, or use OpenSSH as the server.",
    ),
    Cause(
        "delete_failed",
        "delete",
        "A file can be written, but not deleted",
        "Give {user} the right to delete in {path}, and remove the probe file named here by hand.",
    ),
    Cause(
        "link_slow",
        "link",
        "The line to the server is slow",
        "Place the client nearer to {host}, or have the line looked at: many small artifacts cost a "
        "few round trips each.",
    ),
    Cause(
        "vantage_unreachable",
        "mlflow",
        "This place could not be entered, so nothing was checked from it",
        "See that the container runs (docker compose ps) and starts (docker compose logs), then "
        "docker compose up -d.",
    ),
    Cause(
        "stack_outdated",
        "mlflow",
        "The containers do not run with what compose.yml and .env say now",
        "Run docker compose up -d in the directory of the stack (docker compose restart does not "
        "apply a changed .env), or site.yml.",
    ),
    Cause(
        "container_key_outdated",
        "mlflow",
        "The key in the container is not the key on the Docker host",
        "Run docker compose up -d --force-recreate in the directory of the stack: a container keeps the key "
        "directory it was started with, also when that was replaced.",
    ),
    Cause(
        "mlflow_no_tracking_uri",
        "mlflow",
        "Nothing says which MLflow server to ask",
        "Set MLFLOW_TRACKING_URI in the environment of the service, or give tracking_uri.",
    ),
    Cause(
        "mlflow_unreachable",
        "mlflow",
        "The MLflow server does not answer",
        "See that the service mlflow runs and is healthy (docker compose ps, docker compose logs "
        "mlflow) and that MLFLOW_TRACKING_URI ({tracking_uri}) names it as this client can reach it.",
    ),
    Cause(
        "mlflow_host_refused",
        "mlflow",
        "The MLflow server answers 403 because it does not know the host name it is asked under",
        "Add host and port of {tracking_uri} to MLFLOW_SERVER_ALLOWED_HOSTS in .env and run docker "
        "compose up -d.",
    ),
    Cause(
        "mlflow_login_refused",
        "mlflow",
        "The MLflow server does not accept this user and password, or wants some",
        "Run site.yml, which gives the services' users their passwords again and recreates those that have old ones. "
        "Elsewhere, set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.",
    ),
    Cause(
        "mlflow_permission_denied",
        "mlflow",
        "The MLflow server does not let this user do that",
        "Grant it in mlflow_stack_users, or for services in mlflow_stack_auth_service_permissions, and run site.yml.",
    ),
    Cause(
        "mlflow_host_policy",
        "mlflow",
        "The MLflow server refuses artifact locations on another host than its own artifact root",
        "Let the location and the server's --default-artifact-root or --artifacts-destination name "
        "the same host and port, or set MLFLOW_ALLOWED_HOST_ADDRESSED_ARTIFACT_SCHEMES=sftp for the "
        "server (mlflow_stack_allowed_artifact_schemes). Change the store with playbooks/storage_switch.yml, "
        "which moves the runs made before.",
    ),
    Cause(
        "earlier_runs_unreadable",
        "mlflow",
        "The MLflow server stores new artifacts, but cannot read those of earlier runs",
        "Let the server reach {uri} again (host, key and known_hosts as for its own storage). Once it does, "
        "playbooks/storage_switch.yml moves the runs made there.",
    ),
    Cause(
        "mlflow_run_missing",
        "mlflow",
        "The MLflow server does not know the run or experiment",
        "Check the run id, and that {tracking_uri} is the server the run was made on.",
    ),
    Cause(
        "plugin_not_active",
        "mlflow",
        "MLflow does not use this project's store for sftp:// locations",
        "Install the package mlflow-sftp beside MLflow in this image (rebuild the images with "
        "site.yml), and see that 'python -c \"import mlflow_sftp.mlflow_plugin.artifact_repository\"' prints no error.",
    ),
    Cause(
        "artifact_store_failed",
        "mlflow",
        "MLflow could not store or read artifacts",
        "Follow what was seen; if it is about the SFTP server, sftp_check with the same key and "
        "address names the cause.",
    ),
    Cause(
        "listing_differs",
        "mlflow",
        "MLflow lists other artifacts than were logged",
        "Compare {uri} on the server with what is listed: another client writes there, or the server "
        "hides files.",
    ),
    Cause(
        "artifacts_differ",
        "mlflow",
        "Artifacts downloaded are not those that were logged",
        "Stop using the storage behind {uri} and have it checked: its file system, a full disk, or "
        "something in between changes data.",
    ),
    Cause(
        "artifacts_elsewhere",
        "mlflow",
        "Artifacts were stored, but not on the SFTP server",
        "Look at artifact_storage in the inventory. Experiments that lie elsewhere keep their location until "
        "playbooks/storage_switch.yml moves them.",
    ),
    Cause(
        "access_mode_mismatch",
        "mlflow",
        "The MLflow server gives experiments another kind of location than the access configured",
        "Set mlflow_stack_access to what is wanted and run site.yml, which starts the server with it. "
        "An experiment made before keeps its kind of location: use a new one.",
    ),
    Cause(
        "bytes_differ_on_server",
        "mlflow",
        "The SFTP server holds other bytes than MLflow was given",
        "Compare {uri} with the directory read on the server: sftp_path and the artifact root of "
        "MLflow must be the same directory.",
    ),
    Cause(
        "name_taken",
        "mlflow",
        "What {directory} would use is there already and was not made for it",
        "Choose other names with {variables}, or move away what is there: only its owner knows whether it is needed.",
    ),
    Cause(
        "directory_taken",
        "mlflow",
        "The directory {directory} belongs to something else",
        "Set {variable} to a directory that is yet to be made, or move away what is there.",
    ),
    Cause(
        "engine_stopped",
        "mlflow",
        "Docker is installed, but not from the distribution, and does not answer",
        "Start it ({start}; {log}) so that docker info succeeds, or remove it: nothing is installed beside it.",
    ),
    Cause(
        "engine_masked",
        "mlflow",
        "Somebody has forbidden Docker's service to start",
        "If it may run here: systemctl unmask {unit}, then systemctl enable --now {unit}.",
    ),
    Cause(
        "engine_denied",
        "mlflow",
        "This user may not talk to the Docker engine",
        "Let Ansible become root (ansible_become), or put {user} into the group docker, which equals root.",
    ),
    Cause(
        "engine_podman",
        "mlflow",
        "What is called docker on this host is Podman",
        "Use a host with a Docker engine, or remove podman-docker and run site.yml again: Podman itself may stay.",
    ),
    Cause(
        "engine_rootless",
        "mlflow",
        "The Docker engine runs without root, with user ids of its own, so that the containers could not read the key",
        "Install and start an engine of root's (on Debian the package docker.io), beside which the other may stay, "
        "and see that neither DOCKER_HOST nor docker context leads to the other.",
    ),
    Cause(
        "engine_remaps_users",
        "mlflow",
        "The Docker engine gives containers other user ids than the host has, so that they could not read the key",
        "Use another host, or take userns-remap out of {file} and restart the engine, if nothing "
        "else there relies on it.",
    ),
    Cause(
        "engine_elsewhere",
        "mlflow",
        "The docker command on this host talks to another engine than the host's own",
        "Unset DOCKER_HOST and run docker context use default for the user that Ansible works as, or make the host "
        "that {endpoint} leads to the Docker host of the inventory.",
    ),
    Cause(
        "engine_incomplete",
        "mlflow",
        "Docker is installed, but not from the distribution, and lacks parts",
        "Install them from where Docker came (its own packages are {packages}): the distribution's do not fit it.",
    ),
    Cause(
        "daemon_json_invalid",
        "mlflow",
        "Docker's configuration is not valid JSON, so that no engine starts with it",
        "Correct {file} at the place shown (often a comma too many), then start the engine or run site.yml.",
    ),
    Cause(
        "service_unhealthy",
        "mlflow",
        "The service {service} does not run, or its health check fails",
        "Follow what its log says (docker logs {container} shows all of it), then run site.yml or docker compose "
        "up -d again; if it only was slow, raise mlflow_stack_wait_timeout.",
    ),
    Cause(
        "service_out_of_memory",
        "mlflow",
        "The service {service} was ended because it needed more memory than it may use",
        "Raise the entry {service} of mlflow_stack_memory_limits and run site.yml.",
    ),
    Cause(
        "service_port_taken",
        "mlflow",
        "The port of the service {service} on the Docker host is taken",
        "Stop what listens there (ss -ltnp), or set mlflow_stack_port or mlflow_stack_notebook_port to a port "
        "that is free.",
    ),
    Cause(
        "service_behind_proxy",
        "mlflow",
        "The service {service} asks itself and the others through a proxy",
        "Run site.yml, whose compose.yml names the proxy in mlflow_stack_proxy or none; look for a file beside it "
        "(compose.override.yml) that sets HTTP_PROXY without NO_PROXY.",
    ),
    Cause(
        "service_database_outdated",
        "mlflow",
        "MLflow refuses a database that an older version of it made",
        "Back the database up (docs/restore.md), then run in the directory of the stack: "
        "docker compose run --rm mlflow sh -c 'mlflow db upgrade \"$MLFLOW_BACKEND_STORE_URI\"', and site.yml.",
    ),
    Cause(
        "service_database_unreachable",
        "mlflow",
        "The service {service} does not reach its database, or is not let in",
        "Check host, port, user and password of mlflow_stack_backend_store, and that the database takes connections "
        "from the containers; for the stack's own, see docker compose logs postgres.",
    ),
    Cause(
        "space_low",
        "space",
        "Little space is free",
        "Make room, or have it enlarged: playbooks/tidy.yml deletes what nothing needs any more. The limit is "
        "mlflow_stack_capacity_warn.",
    ),
    Cause(
        "space_reserved",
        "space",
        "So little space is free that no storage switch to there is begun",
        "Make room, or have it enlarged, before the next storage switch: playbooks/tidy.yml deletes what nothing needs "
        "any more. The limit is mlflow_stack_capacity_refuse.",
    ),
    Cause(
        "gateway_unreachable",
        "gateway",
        "The gateway does not answer",
        "See on the Docker host what docker compose logs gateway says, then run site.yml; something else may listen at "
        "mlflow_gateway_bind and mlflow_gateway_https_port.",
    ),
    Cause(
        "gateway_certificate",
        "gateway",
        "The gateway shows another certificate than the installed one, or one that does not hold",
        "Put a valid certificate for {hostname} into mlflow_gateway_certificate_file and run site.yml, which also "
        "reloads a gateway that goes on with an old one.",
    ),
    Cause(
        "gateway_certificate_expiring",
        "gateway",
        "The gateway's certificate expires soon",
        "Have the certificate for {hostname} renewed, and run site.yml; where mlflow_gateway_tls is self or acme, "
        "site.yml alone renews it.",
    ),
    Cause(
        "gateway_closed",
        "gateway",
        "The gateway does not get an answer of MLflow",
        "If a cutover is going on, wait for its end; otherwise look at the services (docker compose ps) and at what "
        "docker compose logs gateway says of them.",
    ),
    Cause(
        "service_disk_full",
        "mlflow",
        "The Docker host has no space left for the service {service}",
        "Free space on the file system of Docker's directory (df, docker system df), then run site.yml.",
    ),
    Cause(
        "service_volume_denied",
        "mlflow",
        "The service {service} may not read or write its files",
        "See who owns the volume's files: the containers' user (mlflow_stack_uid) must. An engine with userns-remap, "
        "and SELinux, shift or forbid that.",
    ),
    Cause(
        "sshd_configuration_invalid",
        "any",
        "sshd refuses its own configuration",
        "Repair it on the server (sshd -t checks it).",
    ),
    Cause(
        "sshd_dropins_unread",
        "any",
        "The server's /etc/ssh/sshd_config does not read drop-ins",
        'Add "Include /etc/ssh/sshd_config.d/*.conf" as the first line of /etc/ssh/sshd_config.',
    ),
    Cause(
        "sshd_settings_overridden",
        "any",
        "Something else in the sshd configuration, such as a Match block, wins over what {user} must have",
        "Look for {user} in the files of /etc/ssh/sshd_config.d and in sshd_config, and remove what sets the same "
        "(sshd -T -C user={user},host=localhost,addr=127.0.0.1 shows what holds).",
    ),
    Cause(
        "sshd_account_refused",
        "authenticate",
        "{setting} of the server's sshd keeps {user} out",
        "In the sshd configuration of the server, {change}, and reload sshd.",
    ),
    Cause(
        "sshd_algorithm_refused",
        "authenticate",
        "PubkeyAcceptedAlgorithms of the server's sshd leaves out every authorized key",
        "In the sshd configuration of the server, add {algorithms} to PubkeyAcceptedAlgorithms, or use a key "
        "of a type that is in the list (sftp_client_key_type).",
    ),
    Cause(
        "sshd_keys_unreadable",
        "authenticate",
        "sshd cannot read the authorized keys, for which it takes the rights of {user}",
        "On the server, chmod o+x {directory}.",
    ),
    Cause(
        "sshd_pam_refused",
        "authenticate",
        "PAM's account rules keep {user} out of the server after the key was accepted",
        "On the server, {change}; sshd need not be reloaded.",
    ),
    Cause(
        "sshd_port_closed",
        "connect",
        "sshd does not listen on port {port} of the server",
        "On the server, {change}.",
    ),
    Cause(
        "server_stalled",
        "any",
        "The server stopped answering in the middle of a session",
        "Look at the server behind {host}:{port} (load, storage that hangs), and at firewalls that "
        "drop quiet or large connections.",
    ),
    Cause(
        "sftp_malformed",
        "any",
        "The server's SFTP answers are not what was asked, or not complete",
        "Have the SFTP software on {host} updated or replaced: what it answers cannot be relied on.",
    ),
    Cause(
        "ssh_malformed",
        "any",
        "What comes from the server is not proper SSH",
        "Look for something between here and {host}:{port} that changes data, then at the server's software and its "
        "log.",
    ),
    Cause(
        "connection_lost",
        "any",
        "The connection broke off in the middle of a session",
        "Look at the server's log around this time: sshd was restarted, the session was ended, or a "
        "firewall cut the connection to {host}:{port}.",
    ),
)

CAUSES: dict[str, Cause] = {cause.code: cause for cause in _TABLE}


class DiagnosedError(Exception):
    """A failure with a named cause.

    Attributes:
        cause: The row of the table.
        seen: The evidence: what was observed, without secrets.
        facts: Values for the placeholders of the remedy.
    """

    def __init__(self, code: str, seen: str, **facts: object) -> None:
        self.cause = CAUSES[code]
        self.seen = seen
        self.facts: dict[str, object] = facts
        super().__init__(f"{self.meaning}. Seen: {seen}")

    @property
    def meaning(self) -> str:
        """What is wrong, with what is known filled in."""
        return _fill(self.cause.meaning, self.facts)

    @property
    def remedy(self) -> str:
        """What to change, with what is known filled in."""
        return _fill(self.cause.remedy, self.facts)

    def with_facts(self, facts: Mapping[str, object]) -> DiagnosedError:
        """Return the same failure knowing more; what it knew itself stays."""
        return type(self)(self.cause.code, self.seen, **{**facts, **self.facts})


class _Placeholders(dict[str, object]):
    """Leaves a placeholder readable where nothing is known for it."""

    def __missing__(self, name: str) -> str:
        return f"<{name}>"


def _fill(text: str, facts: Mapping[str, object]) -> str:
    """Fill the placeholders of a meaning or remedy; unknown ones read ``<name>``."""
    return text.format_map(_Placeholders(facts))
