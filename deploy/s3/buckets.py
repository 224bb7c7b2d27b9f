"""Makes the buckets of the data root and of the logs, where they are not there yet."""

import os
import sys
from urllib.parse import urlsplit

from botocore.session import Session

s3 = Session().create_client("s3", region_name=os.environ.get("AWS_REGION") or "us-east-1")
there = {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
named = {urlsplit(os.environ["TAXI_DATA_ROOT"]).netloc, os.environ.get("TAXI_LOGS_BUCKET", "")}
for bucket in sorted(named - there - {""}):
    s3.create_bucket(Bucket=bucket)
    sys.stdout.write(f"made bucket {bucket}\n")
