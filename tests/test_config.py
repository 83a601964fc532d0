import pytest
import yaml

from allegro_dist.config import ConfigError, RunConfig, dump, from_dict, load, read_values, to_dict

MINIMAL = {"data": {"train": "a.xyz"}}


def make(**sections):
    return from_dict(RunConfig, {**MINIMAL, **sections})


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"trainig": {}}, "unknown key 'trainig'; did you mean 'training'"),
        ({"training": {"max_epoch": 3}}, "unknown key 'training.max_epoch'; did you mean 'max_epochs'"),
        ({"training": {"loss": {"force": 1}}}, "unknown key 'training.loss.force'; did you mean 'forces'"),
        ({"model": {"lmax": 2}}, "unknown key 'model.lmax'; did you mean 'l_max'"),
        ({"data": {"train": "a", "tset": "b"}}, "unknown key 'data.tset'; did you mean 'test'"),
    ],
)
def test_unknown_key_is_refused_with_the_nearest_known_one(sections, message):
    with pytest.raises(ConfigError, match=message):
        make(**sections)


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"training": {"max_epochs": 0}}, "training.max_epochs"),
        ({"training": {"learning_rate": -1.0}}, "training.learning_rate"),
        ({"training": {"ema": 1.0}}, "training.ema"),
        ({"training": {"optimizer": "schedule_free"}}, "needs schedule.name: constant, not cosine"),
        ({"model": {"l_max": 9}}, "model.l_max"),
        ({"training": {"schedule": {"unit": "minutes"}}}, "max_minutes"),
        ({"training": {"loss": {"energy": 0, "forces": 0}}}, "at least one weight"),
        ({"model": {"pair_cutoffs": {"H-H": 9.0}}}, "H-H = 9.0 exceeds r_max"),
    ],
)
def test_value_out_of_range_is_refused_by_name(sections, key):
    with pytest.raises(ConfigError, match=key):
        make(**sections)


def test_missing_key_is_named():
    with pytest.raises(ConfigError, match="missing key 'data.train'"):
        from_dict(RunConfig, {"data": {}})


def test_dump_and_load_give_the_same_configuration(tmp_path):
    config = make(model={"pair_cutoffs": {"H-H": 3.0}, "type_names": ["H", "O"]}, training={"max_minutes": 2.5})
    dump(config, tmp_path / "c.yaml")
    assert load(tmp_path / "c.yaml") == config


def test_dump_holds_every_key():
    assert to_dict(make())["training"]["schedule"]["warmup"] == make().training.schedule.warmup


def test_overrides_reach_nested_keys(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    config = load(path, ["training.max_epochs=7", "data.val=0.2", "data.train=[b.xyz, c.xyz]", "model.parity=false"])
    assert (config.training.max_epochs, config.data.val, config.model.parity) == (7, 0.2, False)
    assert config.data.train == ("b.xyz", "c.xyz")


def test_override_changes_one_of_the_places_that_share_an_anchor(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("runs: [&first {steps: &n {a: 1}}, {<<: *first}, *first]")
    values = read_values(path, ["runs.1.steps.a=2"])
    assert [run["steps"]["a"] for run in values["runs"]] == [1, 2, 1]


@pytest.mark.parametrize("item", ["training.max_epochs", "=3", "data.train.x=1", "seed=[4"])
def test_malformed_override_is_refused(tmp_path, item):
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    with pytest.raises(ConfigError, match="override"):
        load(path, [item])


@pytest.mark.parametrize("content", [b"a: [", b"- 1\n- 2\n", b"PK\xd0\xff"])
def test_file_that_is_no_mapping_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="c.yaml: .*$") as refused:
        load(path)
    assert "\n" not in str(refused.value)


def test_check_of_several_values_says_no_more_than_is_wrong():
    with pytest.raises(ConfigError) as refused:
        from_dict(RunConfig, {**MINIMAL, "model": {"num_scalar_features": 7}}, "c.yaml")
    assert str(refused.value) == "c.yaml: model: num_scalar_features must be even for the type embedding, got 7"


def test_long_value_is_told_by_its_beginning():
    with pytest.raises(ConfigError, match="^.{,200}$"):
        from_dict(RunConfig, {**MINIMAL, "seed": {f"key{k}": k for k in range(1000)}})
