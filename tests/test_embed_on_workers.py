"""The embed flow under its deployment: shards as runs of their own on workers of the pool."""

from __future__ import annotations

from pathlib import Path

from likewise.delivery import parts
from tests.data.pictures import encoded
from tests.delivery.untrained import picture, write_model
from tests.prefect_server import PrefectServer, working
from tests.projects import make_project


def test_shards_run_on_workers_of_the_pool(prefect_server: PrefectServer, tmp_path: Path) -> None:
    project = make_project(tmp_path)
    write_model(tmp_path / "model")
    new = tmp_path / "new"
    new.mkdir()
    for number in range(12):
        (new / f"{number}.png").write_bytes(encoded(picture(number)))
    prefect_server.deploy(project)
    parameters = {"path": str(new), "out": str(tmp_path / "out"), "model": str(tmp_path / "model"), "shards": 2}
    with working(prefect_server, "cpu", tmp_path / "worker"):
        run = prefect_server.start("embed/embed", parameters)
        assert prefect_server.ended(run, seconds=300)["state_name"] == "Completed", prefect_server.log(run)
    wanted = {"flow_runs": {"parent_flow_run_id": {"any_": [run]}}}
    shown = prefect_server.post("flow_runs/filter", wanted)
    assert sorted(each["name"] for each in shown) == ["embed shard 0 of 2", "embed shard 1 of 2"]
    assert prefect_server.run(run)["name"] == "embed: 12 new of 12 files"
    (folder,) = (tmp_path / "out").glob("model=*")
    assert len(parts.Pile(folder, parts.EMBEDDED).hashes()) == 12
