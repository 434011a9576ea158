# The events of a run into a table of SQLite, all of them or none. In [sink]:
#   type = "exec"
#   command = ["python3", "sqlite_sink.py", "events.sqlite"]
#   format = "jsonl"
import json, os, sqlite3, sys

db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
db.execute("DROP TABLE IF EXISTS events")
db.execute("CREATE TABLE events (name TEXT, time TEXT, distinct_id TEXT, properties TEXT)")
for line in sys.stdin.buffer:
    name, time, user, _, properties = json.loads(line).values()
    db.execute("INSERT INTO events VALUES (?, ?, ?, ?)", (name, time, user, json.dumps(properties)))
if not os.path.exists(os.environ["MIXFLOW_COMMIT"]):
    sys.exit("the stream was cut off: nothing is kept")
db.execute("COMMIT")
