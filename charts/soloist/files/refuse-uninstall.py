"""Run by `helm uninstall` before anything is removed: refuse while TradingBots exist (standard library only)."""

import json
import os
import ssl
import sys
import urllib.error
import urllib.request

ACCOUNT = os.environ.get("SERVICE_ACCOUNT_DIR", "/var/run/secrets/kubernetes.io/serviceaccount")
SERVER = os.environ.get("API_SERVER") or "https://{KUBERNETES_SERVICE_HOST}:{KUBERNETES_SERVICE_PORT}".format(
    **os.environ
)


def bots_of(namespace):
    """Names of the TradingBots in a namespace; none when the kind does not exist."""
    with open(f"{ACCOUNT}/token", encoding="ascii") as file:
        token = file.read().strip()
    request = urllib.request.Request(
        f"{SERVER}/apis/soloist.trade/v1alpha1/namespaces/{namespace}/tradingbots",
        headers={"Authorization": f"Bearer {token}"},
    )
    trust = ssl.create_default_context(cafile=f"{ACCOUNT}/ca.crt")
    try:
        with urllib.request.urlopen(request, context=trust, timeout=15) as reply:
            items = json.load(reply)["items"]
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return []
        raise
    return [f"{namespace}/{item['metadata']['name']}" for item in items]


left = [bot for namespace in sys.argv[1:] for bot in bots_of(namespace)]
if left:
    sys.exit(
        f"{len(left)} TradingBots still exist: {', '.join(left[:10])}. Delete them first (kubectl delete tradingbots --all -n "
        "NAMESPACE): only the running operator can stop their engines and revoke their keys."
    )
print("no TradingBot is left")
