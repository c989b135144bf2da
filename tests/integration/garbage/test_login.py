"""Nobody inherits permissions on an experiment that is gone: SQLite gives its number to the next one."""

import sqlalchemy as sa

from mlflow_sftp.operations import login_schema
from tests.integration.garbage.conftest import Deleted


def test_grants_go_with_their_experiment(deleted: Deleted) -> None:
    other = deleted.client.create_experiment("of somebody else", f"{deleted.root}/2")
    engine = sa.create_engine(deleted.uri)
    with engine.begin() as connection:
        login_schema.make(connection)
        connection.execute(
            sa.text("INSERT INTO roles (id, name, workspace) VALUES (1, '__user_1__', 'default')")
        )
        for kind, name in (
            ("experiment", deleted.experiment),
            ("experiment", other),
            ("experiment", "*"),
            ("registered_model", deleted.experiment),
        ):
            grant = "INSERT INTO role_permissions (role_id, resource_type, resource_pattern, permission)"
            connection.execute(sa.text(f"{grant} VALUES (1, '{kind}', '{name}', 'MANAGE')"))
    deleted.client.delete_experiment(deleted.experiment)
    deleted.set_back()
    deleted.collect()
    with engine.connect() as connection:
        left = connection.execute(
            sa.text("SELECT resource_type, resource_pattern FROM role_permissions")
        ).all()
    engine.dispose()
    assert sorted(map(tuple, left)) == sorted(
        [("experiment", "*"), ("experiment", other), ("registered_model", deleted.experiment)]
    )
