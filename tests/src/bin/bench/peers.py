"""What others use for the same job, with the simulator for a server.

    python3 peers.py mixpanel-utils SERVER FIRST LAST OUTPUT
    python3 peers.py tap-mixpanel SERVER FIRST LAST > OUTPUT
"""

import json
import sys


def mixpanel_utils(server, first, last, output):
    from mixpanel_utils import MixpanelUtils

    mixpanel = MixpanelUtils("sim-secret", service_account_username="sim", project_id=1)
    mixpanel.raw_api = server + "/api"
    days = {"from_date": first, "to_date": last}
    mixpanel.export_events(output, days, add_gzip_header=True)


def tap_mixpanel(server, first, last):
    import requests
    import tap_mixpanel
    from tap_mixpanel.client import MixpanelClient
    from tap_mixpanel.streams import Export

    # It has the addresses fixed, asks for a profile first, and names no project.
    Export.url = server + "/api/2.0"
    MixpanelClient.check_access = lambda self: True
    request = requests.Session.request

    def of_project(self, method, url, params=None, **more):
        joint = "&" if "?" in url else "?"
        return request(self, method, url + joint + "project_id=1", params=params, **more)

    requests.Session.request = of_project
    with open(tap_mixpanel.__path__[0] + "/schemas/export.json") as file:
        schema = json.load(file)
    schema["additionalProperties"] = True
    stream = {"selected": True, "inclusion": "available"}
    metadata = [{"breadcrumb": [], "metadata": stream}]
    metadata += [
        {"breadcrumb": ["properties", name], "metadata": {"inclusion": "automatic"}}
        for name in schema["properties"]
    ]
    export = {"tap_stream_id": "export", "stream": "export", "schema": schema, "metadata": metadata}
    write("tap-catalog.json", {"streams": [export | {"key_properties": []}]})
    write(
        "tap-config.json",
        {
            "project_timezone": "UTC",
            "api_secret": "sim:sim-secret",
            "attribution_window": "1",
            "start_date": first + "T00:00:00Z",
            "end_date": last + "T00:00:00Z",
            "user_agent": "bench",
        },
    )
    sys.argv = ["tap", "--config", "tap-config.json", "--catalog", "tap-catalog.json"]
    tap_mixpanel.main()


def write(path, value):
    with open(path, "w") as file:
        json.dump(value, file)


run = {"mixpanel-utils": mixpanel_utils, "tap-mixpanel": tap_mixpanel}
run[sys.argv[1]](*sys.argv[2:])
