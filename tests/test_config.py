"""What options, variables and defaults come to."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from resourced.config import Config, MySQLSettings, SQLiteSettings
from resourced.errors import ConfigurationError
from resourced.forwarded import TrustedProxies
from resourced.settings import OPTION_FLAGS, OPTION_PARAMETERS, SETTINGS

pytestmark = pytest.mark.trial

KEY = {"RESOURCE_WRITE": "a-write-key"}


class Options(usage.Options):
    optParameters = OPTION_PARAMETERS
    optFlags = OPTION_FLAGS


def load(arguments="", cwd="/srv", **environ):
    """Load as the daemon does it: with a real command line."""
    options = Options()
    options.parseOptions(arguments.split())
    return Config.load(options, {**KEY, **environ}, cwd)


class PrecedenceTests(SynchronousTestCase):
    def test_defaults(self):
        """With nothing but a key, everything is as the contract says."""
        self.assertEqual(
            load(),
            Config(
                listen="tcp:9501",
                store=SQLiteSettings("/srv/resourced.sqlite"),
                resource_read="",
                resource_read_lock="",
                resource_write="a-write-key",
                keys="",
                trusted_proxies=TrustedProxies(),
                lease=300.0,
                place=60.0,
                claim=30.0,
                max_wait=50.0,
                default_wait=0.0,
                max_body=1048576,
                max_queue=10000,
                max_waiting=100000,
                max_locks=200000,
                max_units=10000,
                max_peer_connections=5000,
                max_connections=10000,
                max_requests=1000,
                max_buffered=268435456,
                max_pending=1000,
                max_streams=1000,
                events_keep=604800.0,
                events_max=1000000,
                events_max_bytes=1 << 30,
                request_deadline=30.0,
                store_timeout=5.0,
                grace=10.0,
                store_wait=False,
                log_format="text",
                access_log="quiet",
                standby=False,
                cluster=False,
                advertise="",
                cluster_key="",
                node_listen="",
                workers=1,
                reference_path=False,
                open_metrics=False,
                restored="",
                volatile_locks=False,
            ),
        )

    def test_variable_over_default(self):
        """A variable replaces the default."""
        self.assertEqual(load(RESOURCED_LEASE="20.5").lease, 20.5)

    def test_option_over_variable(self):
        """An option replaces the variable, even one that is wrong."""
        self.assertEqual(load("--lease 7", RESOURCED_LEASE="20").lease, 7.0)
        self.assertEqual(load("--lease 7", RESOURCED_LEASE="soon").lease, 7.0)

    def test_every_setting_has_both(self):
        """Each setting can be given as an option and as a variable, and both come to the same."""
        given = {
            "listen": "unix:/run/r",
            "store": "sqlite:/x",
            "mysql-host": "db",
            "mysql-port": "3307",
            "mysql-database": "things",
            "mysql-user": "keeper",
            "mysql-password": "pass-word",
            "mysql-ssl-mode": "required",
            "resource-read": "r",
            "resource-read-lock": "l",
            "resource-write": "w",
            "trusted-proxies": "10.0.0.1",
            "events-max-bytes": "64M",
            "store-wait": "1",
            "log-format": "json",
            "access-log": "all",
            "standby": "1",
            "cluster": "1",
            "advertise": "http://one",
            "cluster-key": "a",
            "reference-path": "1",
            "open-metrics": "1",
            "volatile-locks": "1",
        }
        for setting in SETTINGS:
            value = given.get(setting.option, "7")
            option = f"--{setting.option}" if setting.flag else f"--{setting.option}={value}"
            # A node of a cluster has to say more.
            others = "--store mysql --advertise http://two --cluster-key a" if setting.option == "cluster" else ""
            others = "--store mysql" if setting.option == "workers" else others
            by_option = load(f"{option} {others}")
            self.assertNotEqual(by_option, load(others), setting.option)
            self.assertEqual(by_option, load(others, **{setting.variable: value}), setting.option)

    def test_a_node_needs_a_shared_store_and_a_name(self):
        """A node of a cluster has a store that others can share, says where they reach it, and keeps its locks."""
        for arguments, said in (
            ("--cluster --advertise http://one", "MySQL"),
            ("--workers 2", "RESOURCED_WORKERS"),
            ("--cluster --store mysql", "RESOURCED_ADVERTISE"),
            ("--cluster --store mysql --advertise http://one", "RESOURCED_CLUSTER_KEY"),
            ("--cluster --store mysql --advertise http://one --cluster-key a --events-keep 0", "RESOURCED_EVENTS_KEEP"),
            (
                "--cluster --store mysql --advertise http://one --cluster-key a --volatile-locks",
                "RESOURCED_VOLATILE_LOCKS",
            ),
            ("--cluster --store mysql --advertise http://one --cluster-key a --restored 1", "RESOURCED_RESTORED"),
            ("--advertise one:9501", "RESOURCED_ADVERTISE"),
        ):
            with self.assertRaises(ConfigurationError) as raised:
                load(arguments)
            self.assertIn(said, raised.exception.sentence)

    def test_empty_variable_is_not_set(self):
        """An empty variable leaves the default, as an unset one does."""
        for setting in SETTINGS:
            if not setting.variable.startswith(("MYSQL_", "RESOURCE_")):
                self.assertEqual(load(**{setting.variable: ""}), load(), setting.variable)
        mysql = load("--store mysql", MYSQL_HOST="", MYSQL_PORT="", MYSQL_DATABASE="", MYSQL_USER="")
        self.assertEqual(mysql.store, MySQLSettings("127.0.0.1", 3306, "small_swoole_resource", "root", ""))

    def test_empty_option_is_given(self):
        """An empty option is no silent way back to the variable: a key is taken away, a number is refused."""
        config = load("--resource-read=", RESOURCE_READ="r")
        self.assertEqual(config.resource_read, "")
        self.assertRaises(ConfigurationError, load, "--lease=")

    def test_misspelt_variable(self):
        """A variable that looks like a setting and is none is refused, and the nearest one is named; its value is not."""
        for name, nearest in (
            ("RESOURCED_STROE", "did you mean RESOURCED_STORE?"),
            ("RESOURCED_MAXBODY", "did you mean RESOURCED_MAX_BODY?"),
            ("RESOURCED_XYZZY", "resourced --help names all there are."),
        ):
            for value in ("", "secret"):
                error = self.assertRaises(ConfigurationError, load, **{name: value})
                self.assertEqual(error.sentence, f"{name} is no setting: {nearest}")

    def test_variables_of_others(self):
        """What resourcectl and what it runs know, and what Kubernetes says of a service named resourced, are no settings and no mistakes."""
        for name in (
            *("RESOURCED_URL", "RESOURCED_KEY", "RESOURCED_OWNER", "RESOURCED_LOCK", "RESOURCED_TICKET"),
            *("RESOURCED_FENCE", "RESOURCED_DATA", "RESOURCED_SERVICE_HOST", "RESOURCED_SERVICE_PORT_HTTP"),
            *("RESOURCED_PORT", "RESOURCED_PORT_9501_TCP", "RESOURCED_PORT_9501_TCP_ADDR", "RESOURCED"),
        ):
            self.assertEqual(load(**{name: "x"}), load())

    def test_help_names_variable_and_default(self):
        """``--help`` tells for each option its variable and its default, and warns of secrets in ps."""
        text = " ".join(Options().getUsage(width=100).split())
        for setting in SETTINGS:
            self.assertIn(f"--{setting.option}", text)
            self.assertIn(f"[{setting.variable}", text)
        self.assertIn("[MYSQL_PORT, default 3306]", text)
        self.assertEqual(text.count("in ps"), 5)


class StoreTests(SynchronousTestCase):
    def test_sqlite_in_state_directory(self):
        """Under systemd the file is in the state directory, in the first if there are several."""
        self.assertEqual(
            load(STATE_DIRECTORY="/var/lib/a:/var/lib/b").store, SQLiteSettings("/var/lib/a/resourced.sqlite")
        )

    def test_sqlite_in_working_directory(self):
        """Else it is in the working directory, by its absolute path."""
        self.assertEqual(load(cwd="/home/me").store, SQLiteSettings("/home/me/resourced.sqlite"))
        self.assertEqual(load(STATE_DIRECTORY="").store, SQLiteSettings("/srv/resourced.sqlite"))

    def test_sqlite_path(self):
        """A path given outright is taken from the working directory, wherever the state directory is."""
        self.assertEqual(
            load("--store sqlite:db/x.sqlite", STATE_DIRECTORY="/var").store, SQLiteSettings("/srv/db/x.sqlite")
        )
        self.assertEqual(load("--store sqlite:/db/x.sqlite").store, SQLiteSettings("/db/x.sqlite"))

    def test_any_variable_of_mysql_means_mysql(self):
        """One MySQL variable, even an empty one, means MySQL; the rest of it has its defaults."""
        self.assertEqual(load(MYSQL_PASSWORD="").store, load("--store mysql").store)
        for variable in ("MYSQL_HOST", "MYSQL_PORT", "MYSQL_DATABASE", "MYSQL_USER", "MYSQL_PASSWORD"):
            self.assertIsInstance(load(**{variable: ""}).store, MySQLSettings, variable)

    def test_any_option_of_mysql_means_mysql(self):
        """One MySQL option means MySQL."""
        self.assertEqual(load("--mysql-port 3307").store.port, 3307)

    def test_variables_of_other_programs(self):
        """What the mysql client keeps in the environment says nothing about the store."""
        self.assertIsInstance(load(MYSQL_PS1="> ", MYSQL_HISTFILE="/dev/null").store, SQLiteSettings)

    def test_said_outright(self):
        """``--store sqlite:`` wins over MySQL variables, and then nobody minds what is in them."""
        self.assertEqual(load("--store sqlite:/x", MYSQL_PORT="whatever").store, SQLiteSettings("/x"))

    def test_wrong_choices(self):
        """Anything else is refused, a missing path too."""
        for wrong in ("sqlite:", "sqlite", "postgres", "mysql:x", "MySQL", "sqlite:  "):
            with self.assertRaises(ConfigurationError) as caught:
                load(RESOURCED_STORE=wrong)
            self.assertIn("RESOURCED_STORE must be auto, mysql or sqlite:PATH", str(caught.exception))

    def test_description(self):
        """The log can say which store it is and where, without the password."""
        self.assertEqual(load("--store sqlite:/x").store.describe(), "SQLite, file /x")
        self.assertEqual(
            load(MYSQL_HOST="db", MYSQL_PASSWORD="pass-word").store.describe(),
            "MySQL, database small_swoole_resource at db:3306 as user root",
        )


class WrongValueTests(SynchronousTestCase):
    def sentence(self, arguments="", **environ):
        return self.assertRaises(ConfigurationError, load, arguments, **environ).sentence

    def test_sentence_names_the_variable(self):
        """The sentence names the variable, what it must be and what it was."""
        self.assertEqual(
            self.sentence(MYSQL_PORT="abc"), 'MYSQL_PORT must be a whole number from 1 to 65535, not "abc".'
        )

    def test_sentence_names_the_option(self):
        """If the value came from an option, the sentence names that too."""
        self.assertEqual(
            self.sentence("--mysql-port abc"),
            'MYSQL_PORT (--mysql-port) must be a whole number from 1 to 65535, not "abc".',
        )

    def test_whole_numbers(self):
        """Whole numbers are plain digits within their bounds."""
        self.assertEqual(load(RESOURCED_MAX_QUEUE="1").max_queue, 1)
        self.assertEqual(load(RESOURCED_MAX_UNITS="7").max_units, 7)
        self.assertEqual(load(RESOURCED_MAX_QUEUE=" 25 ").max_queue, 25)
        for wrong in ("0", "-1", "+5", "1.0", "1e3", "1_000", "٣", "0x10", "1000001", "9" * 5000, " "):
            self.assertIn("RESOURCED_MAX_QUEUE must be", self.sentence(RESOURCED_MAX_QUEUE=wrong))
        self.assertEqual(load(MYSQL_PORT="65535").store.port, 65535)
        self.assertIn("65535", self.sentence(MYSQL_PORT="65536"))

    def test_proxies(self):
        """Proxies are named by their addresses, never by names."""
        self.assertTrue(load(RESOURCED_TRUSTED_PROXIES="10.0.0.0/8,unix").trusted_proxies.trust("10.1.1.1"))
        for wrong in ("proxy.example", "10.0.0.1/8", "*"):
            self.assertEqual(
                self.sentence(RESOURCED_TRUSTED_PROXIES=wrong),
                "RESOURCED_TRUSTED_PROXIES must be addresses or networks, or the word unix, with commas between them,"
                f' not "{wrong}".',
            )

    def test_sizes(self):
        """Sizes are bytes, or K, M or G of them."""
        for text, size in (("1", 1), ("1000", 1000), (" 2K", 2048), ("256M", 1 << 28), ("3G", 3 << 30)):
            self.assertEqual(load(RESOURCED_MAX_BUFFERED=text).max_buffered, size)
        for wrong in ("0", "0M", "-1", "1k", "1.5G", "1 M", "M", "٣", "1" * 16, "1MB"):
            self.assertIn("RESOURCED_MAX_BUFFERED must be", self.sentence(RESOURCED_MAX_BUFFERED=wrong))
        self.assertIn("must be at least 16777216 bytes", self.sentence(RESOURCED_EVENTS_MAX_BYTES="16383K"))

    def test_times(self):
        """Times are whole or decimal seconds above 0 and within a bound."""
        self.assertEqual(load(RESOURCED_CLAIM="0.05").claim, 0.05)
        self.assertEqual(load(RESOURCED_MAX_WAIT="3600").max_wait, 3600.0)
        for wrong in ("0", "0.0", "-1", "nan", "inf", "1e3", ".5", "5.", "1:30", "5 s", "3600.1", "9" * 400):
            self.assertIn("RESOURCED_MAX_WAIT must be a number of seconds", self.sentence(RESOURCED_MAX_WAIT=wrong))

    def test_default_wait(self):
        """Who does not say waits at most as long as who does."""
        self.assertEqual(load(RESOURCED_DEFAULT_WAIT="50").default_wait, 50)
        self.assertEqual(
            self.sentence(RESOURCED_DEFAULT_WAIT="10.5", RESOURCED_MAX_WAIT="10"),
            "RESOURCED_DEFAULT_WAIT (10.5) must not be more than RESOURCED_MAX_WAIT (10).",
        )

    def test_nothing_is_kept(self):
        """Events may be kept for no time at all; that is not the same as no number."""
        for nothing in ("0", "0.0"):
            self.assertEqual(load(RESOURCED_EVENTS_KEEP=nothing).events_keep, 0)
        for wrong in ("-1", " ", "never", "9" * 12):
            self.assertIn(
                "RESOURCED_EVENTS_KEEP must be a number of seconds from 0", self.sentence(RESOURCED_EVENTS_KEEP=wrong)
            )

    def test_switch(self):
        """A switch understands the usual words, in any case."""
        for word in ("1", "true", "Yes", "ON"):
            self.assertTrue(load(RESOURCED_VOLATILE_LOCKS=word).volatile_locks)
        for word in ("0", "False", "no", "off"):
            self.assertFalse(load(RESOURCED_VOLATILE_LOCKS=word).volatile_locks)
        self.assertIn("RESOURCED_VOLATILE_LOCKS must be 1", self.sentence(RESOURCED_VOLATILE_LOCKS="maybe"))

    def test_text(self):
        """A name must be something that can be printed; the sentence stays printable, whatever came in."""
        for wrong in (" ", "a\nb", "a\x00", "\udcff"):
            sentence = self.sentence(MYSQL_HOST=wrong)
            self.assertTrue(sentence.isprintable())
            self.assertIn("MYSQL_HOST must be printable text", sentence)

    @given(st.text(max_size=20), st.sampled_from(SETTINGS))
    def test_any_text_in_any_variable(self, text, setting):
        """Whatever stands in a variable, there is a configuration or a sentence that names the variable."""
        try:
            config = load("--store mysql --resource-read r", **{setting.variable: text})
        except ConfigurationError as error:
            self.assertTrue(error.sentence.startswith(f"{setting.variable} must be "), error.sentence)
            self.assertTrue(error.sentence.isascii())
        else:
            self.assertIsInstance(config, Config)

    @given(st.from_regex(r"[^\x00\s/][^\x00\s]{0,20}", fullmatch=True).filter(str.isprintable))
    def test_any_path(self, path):
        """Whatever the path of the SQLite file, it is absolute and starts from the working directory."""
        store = Config.load({"store": f"sqlite:{path}"}, KEY, "/srv").store
        self.assertEqual(store, SQLiteSettings(str(PurePosixPath("/srv") / path)))


class EncryptionTests(SynchronousTestCase):
    def test_modes(self):
        """The words are those of MySQL's own clients, in either spelling; nothing said means preferred, or with a CA to check it."""
        for word, mode in (
            ("", "preferred"),
            ("DISABLED", "disabled"),
            ("Required", "required"),
            ("VERIFY_CA", "verify-ca"),
            ("verify-identity", "verify-identity"),
        ):
            self.assertEqual(load(MYSQL_SSL_MODE=word).store.ssl_mode, mode)
        self.assertEqual(load(MYSQL_SSL_CA="ca.pem").store.ssl_mode, "verify-ca")
        self.assertEqual(load(MYSQL_SSL_CA="ca.pem", MYSQL_SSL_MODE="preferred").store.ssl_mode, "preferred")
        with self.assertRaisesRegex(ConfigurationError, "MYSQL_SSL_MODE must be disabled, preferred, required"):
            load(MYSQL_SSL_MODE="on")

    def test_paths(self):
        """The paths of the files start from the working directory."""
        store = load(MYSQL_SSL_CA="ca.pem", MYSQL_SSL_CERT="/etc/me.pem", MYSQL_SSL_KEY="me/key.pem").store
        self.assertEqual(
            (store.ssl_ca, store.ssl_cert, store.ssl_key), ("/srv/ca.pem", "/etc/me.pem", "/srv/me/key.pem")
        )


class KeyFileTests(SynchronousTestCase):
    def test_path(self):
        """The path of the key file starts from the working directory; what cannot be one is refused."""
        self.assertEqual(load("--keys etc/keys.toml", STATE_DIRECTORY="/var").keys, "/srv/etc/keys.toml")
        self.assertEqual(load(RESOURCED_KEYS="/etc/keys.toml").keys, "/etc/keys.toml")
        self.assertEqual(load("--keys=", RESOURCED_KEYS="/etc/keys.toml").keys, "")
        for wrong in (" ", "a\x00b", " /etc/keys.toml", "\udcff"):
            error = self.assertRaises(ConfigurationError, load, RESOURCED_KEYS=wrong)
            self.assertIn("RESOURCED_KEYS must be a path", error.sentence)


class SecretTests(SynchronousTestCase):
    def test_no_key(self):
        """Without any key the daemon does not start, and says why and what to do."""
        error = self.assertRaises(ConfigurationError, Config.load, {}, {"RESOURCE_READ": ""}, "/srv")
        self.assertIn("No key is set", error.sentence)
        for variable in ("RESOURCE_READ", "RESOURCE_READ_LOCK", "RESOURCE_WRITE"):
            self.assertIn(variable, error.sentence)

        self.assertIn("RESOURCED_KEYS", error.sentence)

    def test_one_key_suffices(self):
        """Any one of the keys suffices, by variable or by option; so does a file of them."""
        self.assertEqual(Config.load({}, {"RESOURCED_KEYS": "keys.toml"}, "/srv").keys, "/srv/keys.toml")
        for variable in ("RESOURCE_READ", "RESOURCE_READ_LOCK", "RESOURCE_WRITE"):
            Config.load({}, {variable: "k"}, "/srv")
        self.assertEqual(Config.load({"resource-read": "k"}, {}, "/srv").resource_read, "k")

    def test_same_key_twice(self):
        """One key may stand in several variables."""
        config = load(RESOURCE_READ="k", RESOURCE_READ_LOCK="k", RESOURCE_WRITE="k")
        self.assertEqual({config.resource_read, config.resource_read_lock, config.resource_write}, {"k"})

    def test_keys_fit_into_a_header(self):
        """A key that could not travel in a header is refused, and is not shown."""
        for wrong in ("two words", "schlüssel", "line\n", " ", "tab\t", "\x7f"):
            with self.assertRaises(ConfigurationError) as caught:
                load(RESOURCE_READ=wrong)
            self.assertEqual(str(caught.exception), "RESOURCE_READ must be printable ASCII without spaces.")
        self.assertEqual(load(RESOURCE_READ="!~a=b/c+:").resource_read, "!~a=b/c+:")

    def test_password_as_it_is(self):
        """A password is taken as it is, spaces and all; one that is not UTF-8 is refused and not shown."""
        self.assertEqual(load(MYSQL_PASSWORD=" pass wörd ").store.password, " pass wörd ")
        with self.assertRaises(ConfigurationError) as caught:
            load(MYSQL_PASSWORD="pass\udcff")
        self.assertEqual(str(caught.exception), "MYSQL_PASSWORD must be UTF-8 text.")
        self.assertIsNone(caught.exception.__cause__)

    def test_repr_shows_no_secret(self):
        """Whoever prints the configuration prints no secret."""
        config = load(
            RESOURCE_READ="secret-1",
            RESOURCE_READ_LOCK="secret-2",
            RESOURCE_WRITE="secret-3",
            MYSQL_PASSWORD="secret-4",
        )
        self.assertNotIn("secret", f"{config!r} {config} {config.store!r} {config.store.describe()}")
