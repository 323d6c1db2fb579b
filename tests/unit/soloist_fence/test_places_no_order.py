"""The fence holds the management key, which may trade: so its code has no way to send an order, or to change one."""

import ast
import inspect
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import soloist_fence
from soloist_fence import commands, measure, venue
from soloist_kalshi.custody import CustodyClient

PACKAGE = Path(soloist_fence.__file__).parent


@pytest.mark.timeout(60)  # a new interpreter imports everything; how long that takes is no promise
def test_the_order_path_is_not_loaded():
    code = "import sys, soloist_fence.cli; print([m for m in sys.modules if m.startswith('soloist_') and 'order' in m])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_only_these_commands_exist():
    found = {
        name
        for name, member in vars(commands).items()
        if inspect.isclass(member) and issubclass(member, commands.Command) and member is not commands.Command
    }
    assert found == {
        "CancelOrder", "CreateSecret", "DeleteKey", "DeleteOrderGroup", "DeleteSecret", "GenerateKey", "ListKeys",
        "ListOrders", "Now", "PatchSecret", "ProbeKey", "ReadClaim", "ReadLease", "Sleep", "VenueTime",
    }  # fmt: skip


def test_only_venue_py_talks_to_the_venue_and_only_so():
    users = [
        path.name
        for path in PACKAGE.glob("*.py")
        if any(
            word in path.read_text(encoding="utf-8")
            for word in ("soloist_kalshi.custody", "soloist_kalshi.rest")
        )
    ]
    assert users == ["venue.py"]
    called = {
        node.attr
        for node in ast.walk(ast.parse(Path(venue.__file__).read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and (
            (isinstance(node.value, ast.Attribute) and node.value.attr == "_client")
            or (isinstance(node.value, ast.Name) and node.value.id == "client")
        )
    }
    assert called == {
        "list_api_keys", "list_orders", "generate_api_key", "delete_api_key", "get_balance", "get_user_data_timestamp",
        "cancel_order", "delete_order_group", "close", "clock",
    }  # fmt: skip


def writes_of(kind):
    """Every call of `_write` in a client: its method and its path, as they are written in the source."""
    return {
        (ast.unparse(node.args[0]), _path(method, node.args[1]))
        for part in kind.__mro__
        if part.__module__.startswith("soloist_")
        for method in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(part))))
        if isinstance(method, ast.AsyncFunctionDef)
        for node in ast.walk(method)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "_write"
    }


def _path(method, argument):
    if not isinstance(argument, ast.Name):
        return ast.unparse(argument)
    (found,) = (
        ast.unparse(node.value)
        for node in ast.walk(method)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == argument.id
    )
    return found


def test_of_all_writes_only_a_key_is_made_and_the_rest_is_delete():
    writes = writes_of(CustodyClient)
    assert {path for method, path in writes if method != "'DELETE'"} == {"'/api_keys/generate'"}
    deletes = " ".join(sorted(path for method, path in writes if method == "'DELETE'"))
    assert len(writes) == 4
    assert all(
        text in deletes for text in ("/api_keys/", "/portfolio/events/orders/", "/portfolio/order_groups/")
    )
    for path in (path for method, path in writes if method == "'DELETE'"):
        assert "path_segment(" in path, f"{path} names no single thing: a cancel-all, perhaps"


def test_nothing_but_get_leaves_the_measurement_itself():
    """It opens WebSocket handshakes by hand; everything else goes through venue.py."""
    source = Path(measure.__file__).read_text(encoding="utf-8")
    verbs = {
        node.args[0].value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "client"
    }
    assert verbs == {"GET"}
    users = [path.name for path in PACKAGE.glob("*.py") if "import httpx" in path.read_text(encoding="utf-8")]
    assert sorted(users) == ["cluster.py", "measure.py"]
