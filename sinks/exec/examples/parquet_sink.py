# The rows of a run into one Parquet file, all of them or none. In [sink]:
#   type = "exec"
#   command = ["python3", "parquet_sink.py", "events.parquet"]
import os, sys
import pyarrow as pa, pyarrow.parquet as pq

target, part = sys.argv[1], sys.argv[1] + ".part"
rows = pa.ipc.open_stream(sys.stdin.buffer)
with pq.ParquetWriter(part, rows.schema) as file:
    for batch in rows:
        file.write_batch(batch)
if not os.path.exists(os.environ["MIXFLOW_COMMIT"]):
    sys.exit("the stream was cut off: nothing is kept")
os.replace(part, target)
