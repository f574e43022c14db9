"""An S3 server on loopback, for tests: moto's, in a thread of this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fer_models.artifacts.object_storage import ObjectPath, store_path

#: What the client reads; it then asks no service of a cloud for credentials.
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextmanager
def s3_server(bucket: str = "faces") -> Iterator[str]:
    """Start a server with one bucket; the address of a folder in it."""
    server = pytest.importorskip("moto.server", reason='pip install "moto[server]"')
    import boto3

    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        running.start()
        try:
            host, port = running.get_host_and_port()
            client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
            client.create_bucket(Bucket=bucket)
            yield f"s3://{bucket}/runs/store?scheme=http&endpoint_override={host}:{port}"
        finally:
            running.stop()


def folder_in(address: str, name: str) -> ObjectPath:
    """A folder in the folder with this address."""
    path = store_path(address)
    assert isinstance(path, ObjectPath)
    return path / name
