"""Settings: which source wins, what is refused and how, and what is shown."""

import json
from pathlib import Path

import pytest
from dbaudit import configuration
from dbaudit.configuration import NAMES, load
from dbaudit.core.errors import ConfigurationError, ErrorCode

from tests.cli.running import dbaudit

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"
PLANTED = "Pl4nted-9d1e7c"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "dbaudit.toml"
    path.touch(mode=0o600)
    return path


def refusal(environment: dict[str, str], file: Path | None = None, **options: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as refused:
        load(options, environment, config_file=file)
    assert refused.value.code is ErrorCode.CONFIGURATION_INVALID
    assert refused.value.remedy
    return refused.value


def test_option_wins_over_variable_over_file_over_default(file: Path) -> None:
    file.write_text("port = 1\nthreads = 11\nhost = 'file'\n")
    found = load(
        {"port": "3"},
        {"DBAUDIT_PORT": "2", "DBAUDIT_THREADS": "22", "DBAUDIT_LOG_LEVEL": ""},
        config_file=file,
    )
    values = found.settings
    assert (values.port, found.sources["port"]) == (3, "option --port")
    assert (values.threads, found.sources["threads"]) == (22, "variable DBAUDIT_THREADS")
    assert (values.host, found.sources["host"]) == ("file", f"file {file}")
    assert (values.log_level, found.sources["log_level"]) == ("info", "default")


def test_the_file_is_found_by_option_then_variable_then_home(tmp_path: Path) -> None:
    for name, port in (("home", 1), ("by_variable", 2), ("by_option", 3)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "dbaudit.toml").write_text(f"port = {port}\n")
    home = {"DBAUDIT_HOME": str(tmp_path / "home")}
    variable = {**home, "DBAUDIT_CONFIG": str(tmp_path / "by_variable" / "dbaudit.toml")}
    assert load({}, home).settings.port == 1
    assert load({}, variable).settings.port == 2
    assert load({}, variable, config_file=tmp_path / "by_option" / "dbaudit.toml").settings.port == 3


def test_state_and_key_file_lie_in_the_home_and_paths_of_a_file_beside_it(file: Path) -> None:
    file.write_text("home = 'data'\n")
    found = load({}, {}, config_file=file).settings
    home = file.parent / "data"
    assert found.home == home
    assert found.state_url == f"sqlite:///{home}/state.db"
    assert found.encryption_key_file == home / "encryption.keys"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "70000"),
        ("port", "tcp://10.0.0.1:80"),
        ("port", "-1"),
        ("threads", "1"),
        ("threads", "3.5"),
        ("rate_limit_per_minute", "-1"),
        ("poll_interval_seconds", "0"),
        ("poll_interval_seconds", "nan"),
        ("lease_seconds", "inf"),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("open_metrics", "perhaps"),
        ("state_url", "mysql://x/y"),
        ("api_url", "127.0.0.1:8080"),
        ("api_url", f"http://user:{PLANTED}@127.0.0.1"),
    ],
)
def test_a_wrong_value_is_named_with_its_source_and_what_would_be_right(
    name: str, value: str, file: Path
) -> None:
    expected = configuration.expected(name)
    by_variable = refusal({configuration.variable(name): value})
    assert f"setting {name} (variable {configuration.variable(name)})" in by_variable.message
    assert expected in by_variable.message
    file.write_text(f"{name} = '{value}'\n")
    by_file = refusal({}, file)
    assert f"setting {name} (file {file})" in by_file.message
    assert expected in by_file.message


def test_a_value_of_the_wrong_type_in_the_file_is_named(file: Path) -> None:
    file.write_text("port = [8080]\n")
    assert "setting port" in refusal({}, file).message
    file.write_text("open_metrics = 1\n")
    assert "setting open_metrics" in refusal({}, file).message


def test_an_unknown_setting_in_the_file_is_named_with_those_there_are(file: Path) -> None:
    file.write_text("prot = 8080\n")
    refused = refusal({}, file)
    assert "prot" in refused.message
    assert str(file) in refused.message
    assert "port" in str(refused.remedy)


def test_a_file_that_is_not_toml_is_named_with_the_place(file: Path) -> None:
    file.write_text("port = 80\nhost 127.0.0.1\n")
    refused = refusal({}, file)
    assert str(file) in refused.message
    assert "line 2" in refused.message


def test_a_named_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    assert str(tmp_path / "none.toml") in refusal({}, tmp_path / "none.toml").message
    assert "DBAUDIT_CONFIG" in refusal({"DBAUDIT_CONFIG": str(tmp_path / "none.toml")}).message


@pytest.mark.parametrize(
    "line",
    [
        f"api_key = '{PLANTED}'",
        f"encryption_keys = '{PLANTED}'",
        f"state_url = 'postgresql://dbaudit:{PLANTED}@db/state'",
    ],
)
def test_a_file_with_a_secret_that_others_can_read_is_refused_without_showing_it(
    file: Path, line: str
) -> None:
    file.write_text(f"{line}\n")
    load({}, {}, config_file=file)
    file.chmod(0o644)
    refused = refusal({}, file)
    assert f"chmod 600 {file}" in str(refused.remedy)
    assert PLANTED not in f"{refused.message}{refused.remedy}"


def test_a_list_is_one_in_the_file_and_has_commas_in_a_variable(file: Path) -> None:
    file.write_text("local_paths = []\nodbc_drivers = ['Vendor 5=/opt/vendor/libodbc.so']\n")
    limits = load({}, {"DBAUDIT_LISTEN_ADDRESSES": "10.0.0.0/24, ::"}, config_file=file).settings.host_limits
    assert limits.local_paths == ()
    assert limits.drivers() == {"Vendor 5": "/opt/vendor/libodbc.so"}
    assert limits.listen_addresses == ("10.0.0.0/24", "::")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOCAL_PATHS", "/var/log,logs"),
        ("ODBC_DRIVERS", "FreeTDS"),
        ("ODBC_DRIVERS", "/opt/vendor/libodbc.so"),
        ("LISTEN_ADDRESSES", "10.0.0.5/24"),
        ("LISTEN_ADDRESSES", "127.0.0.1,10.0.0.300"),
    ],
)
def test_a_wrong_entry_of_a_list_is_named_with_its_setting(name: str, value: str) -> None:
    error = refusal({f"DBAUDIT_{name}": value})
    assert f"The setting {name.lower()} (variable DBAUDIT_{name}) must be a list" in error.message


def test_a_certificate_without_a_key_is_refused() -> None:
    assert "tls_cert" in refusal({"DBAUDIT_TLS_CERT": "/a.pem"}).message
    assert "tls_key" in refusal({"DBAUDIT_TLS_KEY": "/a.key"}).message


def test_several_sources_of_encryption_keys_are_refused_by_name() -> None:
    refused = refusal({"DBAUDIT_ENCRYPTION_KEYS": PLANTED, "DBAUDIT_ENCRYPTION_KEY_COMMAND": "vault read"})
    assert "encryption_keys (variable DBAUDIT_ENCRYPTION_KEYS)" in refused.message
    assert "encryption_key_command" in refused.message
    assert PLANTED not in refused.message


def test_a_relative_state_home_is_ignored_as_the_xdg_specification_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/u")
    assert configuration.default_home({"XDG_STATE_HOME": "/s"}) == Path("/s/dbaudit")
    assert configuration.default_home({"XDG_STATE_HOME": "s"}) == Path("/home/u/.local/state/dbaudit")


def test_show_gives_every_setting_with_value_and_source_and_hides_secrets(tmp_path: Path) -> None:
    home = tmp_path / "home"
    variables = {
        "DBAUDIT_API_KEY": f"{PLANTED}-1",
        "DBAUDIT_STATE_URL": f"postgresql://dbaudit:{PLANTED}-2@db/state?password={PLANTED}-3",
        "DBAUDIT_PORT": "9000",
        "DBAUDIT_ENCRYPTION_KEY_COMMAND": f"vault --token {PLANTED}-4",
    }
    for form in ("json", "table"):
        done = dbaudit("config", "show", "--home", home, "--output", form, **variables)
        assert done.returncode == 0, done.stderr
        assert PLANTED not in done.stdout + done.stderr
        assert "variable DBAUDIT_PORT" in done.stdout
        assert "option --home" in done.stdout
    shown = json.loads(dbaudit("config", "show", "--output", "json", **variables).stdout)
    assert list(shown) == list(NAMES)
    assert shown["port"] == {"value": 9000, "source": "variable DBAUDIT_PORT"}
    assert shown["api_key"] == {"value": "********", "source": "variable DBAUDIT_API_KEY"}
    assert shown["state_url"]["value"] == "postgresql://dbaudit:********@db/state?password=********"
    assert shown["encryption_key_command"]["value"] == "vault ********"
    assert not home.exists()


def test_a_password_with_the_marks_of_a_url_in_it_is_hidden_whole() -> None:
    for password in ("a@b", "a:b@c", "a/b", "p@?password=x"):
        assert configuration.hide_password(f"postgresql://u:{password}@h/d") == "postgresql://u:********@h/d"


def test_check_finds_what_is_wrong_and_warns_of_variables_that_are_no_settings(tmp_path: Path) -> None:
    home = tmp_path / "home"
    sound = dbaudit("config", "check", "--home", home, DBAUDIT_PROT="1")
    assert sound.returncode == 0
    assert "DBAUDIT_PROT" in sound.stderr
    assert not home.exists()
    wrong = dbaudit("config", "check", "--home", home, DBAUDIT_ENCRYPTION_KEYS=PLANTED)
    assert wrong.returncode == 3
    assert "encryption_keys" in wrong.stderr
    assert PLANTED not in wrong.stderr


def test_every_setting_is_documented_with_its_variable_and_default() -> None:
    text = DOCUMENT.read_text()
    defaults = load({}, {}).settings
    for name in NAMES:
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{name}` |")]
        assert configuration.variable(name) in row
        default = getattr(defaults, name)
        if name not in ("home", "state_url", "encryption_key_file", "node_name"):
            if isinstance(default, tuple):
                default = ",".join(default) or None
            word = "none" if default is None else str(default).lower()
            assert f"| `{word}` |" in row or f"| {word} |" in row, row
