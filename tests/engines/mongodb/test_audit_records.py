"""What was done to whom and to what, in both schemas of the audit log. Nothing here was recorded: the records
are written after the sources of their writers.
"""

import json
from typing import Any

import pytest
from dbaudit.core.event import Severity
from dbaudit.engine import EventType, Outcome

from tests.engines.mongodb.records import CLIENT, audited, audited_one, mongo, ocsf

MALLORY = {"type_id": 1, "name": "shop.mallory"}
CLIENT_SAYS = {"driver": {"name": "PyMongo", "version": "4"}, "application": {"name": "web shop"}}
GRANTED = {"user": "mallory", "db": "shop", "roles": [{"role": "readWrite", "db": "shop"}]}


@pytest.mark.parametrize(
    ("action", "activity", "unmapped"),
    [
        ("createUser", 1, {}),
        ("createUser", 1, {"atype": "createUser", "customData": {"team": "x"}}),
        ("dropUser", 6, {}),
        ("updateUser", 99, {}),
        ("updateUser", 3, {}),
        ("grantRolesToUser", 7, {"atype": "grantRolesToUser", "roles": ["shop.readWrite"]}),
        ("revokeRolesFromUser", 8, {"atype": "revokeRolesFromUser", "roles": ["shop.readWrite"]}),
    ],
)
def test_ocsf_keeps_who_changed_the_account_and_whose_it_is(
    action: str, activity: int, unmapped: dict[str, Any]
) -> None:
    event = audited_one(ocsf(3001, activity, user=MALLORY, **({"unmapped": unmapped} if unmapped else {})))
    assert (event.operation, event.command_class) == (action, "ROLE")
    assert (event.user, event.database, event.objects) == ("root", "shop", ("shop.mallory",))
    assert event.detail is not None
    assert event.detail["target_user"] == "shop.mallory"
    assert event.detail.get("roles") == unmapped.get("roles")


@pytest.mark.parametrize(
    ("action", "activity", "unmapped", "database", "target"),
    [
        ("createRole", 1, {"role": "shop.clerk", "roles": ["shop.read"], "privileges": []}, "shop", True),
        ("updateRole", 99, {"role": "shop.clerk", "roles": ["shop.read"]}, "shop", True),
        ("dropRole", 6, {"role": "shop.clerk"}, "shop", True),
        ("grantRolesToRole", 7, {"role": "shop.clerk", "roles": ["shop.read"]}, "shop", True),
        ("grantPrivilegesToRole", 7, {"role": "shop.clerk", "privileges": []}, "shop", True),
        ("dropAllRolesFromDatabase", 6, {"db": "shop"}, "shop", False),
        ("dropAllUsersFromDatabase", 6, {"allUsersFromDatabase": "shop"}, "shop", False),
    ],
)
def test_ocsf_keeps_the_role_or_the_database_that_is_changed(
    action: str, activity: int, unmapped: dict[str, Any], database: str, target: bool
) -> None:
    event = audited_one(ocsf(3001, activity, unmapped={"atype": action, **unmapped}))
    assert (event.operation, event.command_class, event.user) == (action, "ROLE", "root")
    assert (event.database, event.objects) == (database, ("shop.clerk",) if target else None)
    assert (event.detail or {}).get("target_role") == ("shop.clerk" if target else None)
    assert (event.detail or {}).get("roles") == unmapped.get("roles")


def test_ocsf_change_of_the_collection_of_users_itself_names_that_collection() -> None:
    mutation = {"namespace": "admin.system.users", "document": {"user": "mallory", "db": "shop"}}
    unmapped = {"atype": "directAuthMutation", "directAuthMutation": mutation}
    event = audited_one(ocsf(3001, 99, user=MALLORY, unmapped=unmapped))
    assert (event.operation, event.command_class) == ("directAuthMutation", "ROLE")
    assert (event.database, event.objects) == ("admin", ("admin.system.users",))
    assert (event.detail or {})["target_user"] == "shop.mallory"


def test_ocsf_rename_has_both_names() -> None:
    event = audited_one(
        ocsf(
            3004,
            3,
            entity={"name": "shop.a", "type": "rename_collection_source"},
            entity_result={"name": "shop.b", "type": "rename_collection_destination"},
        )
    )
    assert (event.operation, event.command_class) == ("renameCollection", "DDL")
    assert (event.database, event.objects) == ("shop", ("shop.a", "shop.b"))
    assert (event.user, event.outcome) == ("root", Outcome.SUCCESS)


@pytest.mark.parametrize(
    ("activity", "kind", "name", "operation", "objects"),
    [
        (1, "create_collection", "shop.a", "createCollection", ("shop.a",)),
        (4, "drop_collection", "shop.a", "dropCollection", ("shop.a",)),
        (1, "create_database", "shop", "createDatabase", None),
        (4, "drop_database", "shop", "dropDatabase", None),
        (3, "import_collection", "shop.a", "importCollection", ("shop.a",)),
        (1, "create_index", "a_1@shop.a", "createIndex", ("shop.a",)),
        (4, "drop_index", "a_1@shop.a", "dropIndex", ("shop.a",)),
    ],
)
def test_ocsf_names_what_was_done_to_which_entity(
    activity: int, kind: str, name: str, operation: str, objects: tuple[str, ...] | None
) -> None:
    event = audited_one(ocsf(3004, activity, entity={"name": name, "type": kind}))
    assert (event.operation, event.command_class) == (operation, "DDL")
    assert (event.database, event.objects) == ("shop", objects)


def test_name_of_an_index_is_not_taken_for_its_collection() -> None:
    """An index may be called anything: `x@hr.salaries` on shop.a, too."""
    named = {"name": "x@hr.salaries@shop.a", "type": "create_index"}
    spec = {"data": {"v": 2, "key": {"a": 1}, "name": "x@hr.salaries"}}
    created = audited_one(ocsf(3004, 1, entity={**named, **spec}))
    assert (created.database, created.objects) == ("shop", ("shop.a",))
    dropped = audited_one(ocsf(3004, 4, entity={**named, "type": "drop_index"}))
    assert (dropped.database, dropped.objects) == (None, None)
    assert (dropped.detail or {})["index"] == "x@hr.salaries@shop.a"


def test_index_that_was_not_built_is_a_failure() -> None:
    entity = {"name": "a_1@shop.a", "type": "create_index"}
    event = audited_one(ocsf(3004, 1, entity=entity, comment="IndexBuildState: IndexBuildAborted"))
    assert (event.outcome, event.severity) == (Outcome.FAILURE, Severity.WARNING)


def test_ocsf_view_has_no_outcome_because_its_record_has_none() -> None:
    view = {"name": "shop.v", "type": "create_view"}
    event = audited_one(ocsf(3004, 1, entity={"name": "shop.a", "type": "collection"}, entity_result=view))
    assert (event.operation, event.objects, event.outcome) == ("createView", ("shop.v", "shop.a"), None)


def test_ocsf_database_is_that_of_the_command_and_not_the_one_that_the_user_is_defined_in() -> None:
    sharded = {"atype": "shardCollection", "ns": "shop.t", "key": {"a": 1}}
    event = audited_one(ocsf(5002, 1, unmapped=sharded))
    assert (event.command_class, event.database, event.objects) == ("DDL", "shop", ("shop.t",))
    stopped = audited_one(ocsf(1007, 2))
    assert (stopped.operation, stopped.database) == ("shutdown", None)


@pytest.mark.parametrize("schema", ["mongo", "OCSF"])
def test_client_that_goes_away_has_disconnected_and_one_that_logs_out_has_not(schema: str) -> None:
    gone = "Implicit logout due to client connection closure"
    asked = "Explicit logout from db 'admin'"
    told = []
    for reason in (gone, asked):
        if schema == "mongo":
            users = [{"user": "root", "db": "admin"}]
            param = {"reason": reason, "initialUsers": users, "updatedUsers": []}
            record = mongo("logout", param, users=[])
        else:
            record = ocsf(3002, 2, src_endpoint=CLIENT, message=f"Reason: {reason}")
        told.append(audited_one(record))
        assert audited(record, logged=True) == [] or reason == asked
    assert [event.type for event in told] == [EventType.DISCONNECT, EventType.QUERY]
    assert [event.user for event in told] == ["root", "root"]
    assert told[1].operation == "logout"


def test_renamed_collection_is_found_by_its_old_and_its_new_name() -> None:
    event = audited_one(mongo("renameCollection", {"old": "shop.a", "new": "shop.b"}))
    assert (event.database, event.objects) == ("shop", ("shop.a", "shop.b"))
    assert event.command_class == "DDL"
    moved = audited_one(mongo("renameCollection", {"old": "shop.a", "new": "hr.b"}))
    assert (moved.database, moved.objects) == (None, ("shop.a", "hr.b"))


def test_command_that_renames_is_about_both_collections_and_not_about_admin() -> None:
    args = {"renameCollection": "shop.a", "to": "shop.b", "$db": "admin"}
    event = audited_one(mongo("authCheck", {"command": "renameCollection", "ns": "admin.$cmd", "args": args}))
    assert (event.database, event.objects, event.command_class) == ("shop", ("shop.a", "shop.b"), "DDL")


@pytest.mark.parametrize(
    "param",
    [
        {"localEndpoint": {"ip": "10.0.0.5", "port": 27017}, "clientMetadata": CLIENT_SAYS},
        CLIENT_SAYS,
    ],
    ids=["MongoDB", "at the top"],
)
def test_application_of_a_connection_is_found_where_each_server_writes_it(param: dict[str, Any]) -> None:
    record = mongo("clientMetadata", param, users=[])
    event = audited_one(record)
    assert (event.type, event.application) == (EventType.CONNECTION, "web shop")
    own = {"own_application": "web shop", "own_ip": CLIENT["ip"]}
    assert audited(record, **own) == [], "the agent's own connection"


@pytest.mark.parametrize(
    ("command", "namespace", "args", "database", "objects"),
    [
        ("listCollections", "shop.$cmd.listCollections", {"listCollections": 1}, "shop", None),
        ("aggregate", "admin.$cmd.aggregate", {"aggregate": 1, "pipeline": []}, "admin", None),
        ("find", "shop.t", {"find": "t"}, "shop", ("shop.t",)),
        ("createIndexes", "shop.$cmd", {"createIndexes": "t"}, "shop", ("shop.t",)),
        ("getParameter", "admin.$cmd", {"getParameter": "*"}, "admin", None),
        ("bulkWrite", "admin.$cmd.bulkWrite",
         {"bulkWrite": 1, "nsInfo": [{"ns": "shop.t"}, {"ns": "shop.u"}]}, "shop", ("shop.t", "shop.u")),
        ("bulkWrite", "admin.$cmd.bulkWrite", {"bulkWrite": 1, "nsInfo": [{"ns": "shop.t"}, {"ns": "hr.u"}]},
         None, ("shop.t", "hr.u")),
        ("bulkWrite", "admin.$cmd.bulkWrite", {"bulkWrite": 1}, "admin", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("schema", ["mongo", "OCSF"])
def test_name_that_no_collection_has_is_no_object_and_what_a_command_is_about_is(
    schema: str,
    command: str,
    namespace: str,
    args: dict[str, Any],
    database: str | None,
    objects: tuple[str, ...] | None,
) -> None:
    if schema == "mongo":
        record = mongo("authCheck", {"command": command, "ns": namespace, "args": args})
    else:
        api = {"operation": command, "request": {"uid": namespace}, "response": {"code": 0}}
        record = ocsf(6003, 0, api=api, unmapped={"args": args})
    event = audited_one(record)
    assert (event.operation, event.database, event.objects) == (command, database, objects)


@pytest.mark.parametrize(
    ("args", "command_class"),
    [
        ({"aggregate": "t", "pipeline": [{"$match": {"a": 1}}]}, "READ"),
        ({"aggregate": "t", "pipeline": [{"$match": {"a": 1}}, {"$out": "o"}]}, "WRITE"),
        ({"aggregate": "t", "pipeline": [{"$merge": {"into": "o"}}]}, "WRITE"),
        ({"aggregate": "t", "pipeline": [{"$match": {"$merge": '"$out":'}}]}, "READ"),
        ({"aggregate": "t", "pipeline": [{"$project": {"out": 1}}]}, "READ"),
        ({"mapReduce": "t", "map": "m", "reduce": "r", "out": {"inline": 1}}, "READ"),
        ({"mapReduce": "t", "map": "m", "reduce": "r", "out": "o"}, "WRITE"),
        ({"mapReduce": "t", "map": "m", "reduce": "r", "out": {"merge": "o"}}, "WRITE"),
        ({"findAndModify": "t", "query": {}}, "WRITE"),
        ({"distinct": "t", "key": "a"}, "READ"),
        ({"createIndexes": "t", "indexes": []}, "DDL"),
        ({"collMod": "t"}, "DDL"),
        ({"setParameter": 1}, "MISC"),
    ],
)
def test_class_says_whether_a_command_writes(args: dict[str, Any], command_class: str) -> None:
    (command, *_rest) = args
    event = audited_one(mongo("authCheck", {"command": command, "ns": "shop.t", "args": args}))
    assert event.command_class == command_class


@pytest.mark.parametrize(
    ("action", "param"),
    [
        ("createUser", GRANTED),
        ("grantRolesToUser", GRANTED),
        ("authCheck", {"command": "createUser", "ns": "shop", "args": {
            "createUser": "mallory", "pwd": "xxx", "roles": ["readWrite"], "$db": "shop"}}),
        ("authCheck", {"command": "grantRolesToUser", "ns": "shop.$cmd", "args": {
            "grantRolesToUser": "mallory", "roles": [{"role": "readWrite", "db": "shop"}], "$db": "shop"}}),
    ],
)  # fmt: skip
def test_masking_leaves_whose_account_was_changed_and_what_was_granted(
    action: str, param: dict[str, Any]
) -> None:
    event = audited_one(mongo(action, param))
    assert (event.user, event.database, event.command_class) == ("root", "shop", "ROLE")
    assert event.objects == ("shop.mallory",)
    assert event.detail == {"target_user": "shop.mallory", "roles": ["shop.readWrite"]}


def test_second_user_of_a_connection_is_told() -> None:
    users = [{"user": "ann", "db": "shop"}, {"user": "bo", "db": "hr"}]
    find = {"command": "find", "ns": "shop.t", "args": {"find": "t"}}
    for record in (
        mongo("authCheck", find, users=users),
        mongo("dropCollection", {"ns": "shop.t"}, users=users),
    ):
        event = audited_one(record)
        assert (event.user, event.detail) == ("ann", {"users": ["shop.ann", "hr.bo"]})


@pytest.mark.parametrize(
    "prefix", [b"Feb  3 10:15:00 db1 mongod.27017[123]: ", b"<13>2025-02-03T10:15:00+00:00 db1 mongod: "]
)
def test_record_that_syslog_wrote_into_a_file_is_read_behind_its_prefix(prefix: bytes) -> None:
    for record in (mongo("dropCollection", {"ns": "shop.t"}), ocsf(3001, 6, user=MALLORY)):
        plain = audited_one(record)
        assert audited_one(prefix + json.dumps(record).encode()) == plain


def test_user_without_a_database_has_none() -> None:
    event = audited_one(mongo("createUser", {"user": "mallory", "db": "", "roles": []}))
    assert (event.database, event.objects) == (None, ("mallory",))
