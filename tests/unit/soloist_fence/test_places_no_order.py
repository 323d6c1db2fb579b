"""The fence holds the management key, which may trade: so its code has no way to send an order."""

import ast
import inspect
import subprocess
import sys
import textwrap
from pathlib import Path

import soloist_fence
from soloist_fence import commands, venue
from soloist_kalshi.rest_keys import KeyClient

PACKAGE = Path(soloist_fence.__file__).parent


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
        "CreateSecret", "DeleteKey", "DeleteSecret", "GenerateKey", "ListKeys", "ListOrders", "Now", "PatchSecret",
        "ProbeKey", "ReadClaim", "ReadLease", "Sleep",
    }  # fmt: skip


def test_only_venue_py_talks_to_the_venue_and_only_so():
    users = [
        path.name
        for path in PACKAGE.glob("*.py")
        if "soloist_kalshi.rest_keys" in path.read_text(encoding="utf-8")
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
        "list_api_keys", "list_orders", "generate_api_key", "delete_api_key", "get_balance", "close", "clock",
    }  # fmt: skip


def test_the_client_it_uses_can_write_nothing_but_keys():
    writes = [
        ast.unparse(node)
        for part in KeyClient.__mro__
        if part.__module__.startswith("soloist_")
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(part))))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "_write"
    ]
    assert len(writes) == 2
    assert all("/api_keys" in text for text in writes)
