//! The servers that other tests rely on: every way in works, and a wrong password does not.

use lockstep_test_support::{
    Certificates, Cluster, Kafka, KafkaClient, Mosquitto, MosquittoOptions, MqttClient, PASSWORD, Python,
    Redis, RedisOptions, Sentinels, USER,
};
use serde_json::json;

/// Kafka, one file of settings per way in.
mod kafka {
    use super::*;

    fn by_password(mechanism: &'static str, password: &'static str) -> Vec<(&'static str, &'static str)> {
        vec![
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", mechanism),
            ("sasl.username", USER),
            ("sasl.password", password),
            ("ssl.ca.location", path(&Certificates::shared().ca)),
        ]
    }

    fn by_certificate(ca: &'static std::path::Path) -> Vec<(&'static str, &'static str)> {
        let client = &Certificates::shared().client;
        vec![
            ("security.protocol", "SSL"),
            ("ssl.ca.location", path(ca)),
            ("ssl.certificate.location", path(&client.certificate)),
            ("ssl.key.location", path(&client.key)),
        ]
    }

    fn path(path: &'static std::path::Path) -> &'static str {
        path.to_str().expect("a path of ours is text")
    }

    /// Writes a record and reads it back by the same way in.
    fn exchange(kafka: &Kafka, client: &KafkaClient) {
        let topic = kafka.topic("servers", 1, &[]);
        let written = client.produce(&topic, Some("t1:app.x"), "{}", &[("event_type", b"config_created")]);
        assert_eq!(written, (0, 0));
        let [read] = &client.read_all(&topic)[..] else { panic!("one record") };
        assert_eq!(read.key_text().as_deref(), Some("t1:app.x"));
        assert_eq!(read.json(), json!({}));
        assert_eq!(read.header("event_type").as_deref(), Some("config_created"));
        assert!(read.timestamp > 0);
    }

    fn refused(servers: &str, settings: &[(&str, &str)]) {
        let short = [settings, &[("message.timeout.ms", "2500")]].concat();
        let written = KafkaClient::with(servers, &short).try_produce("servers", None, "{}", &[]);
        assert!(written.is_err(), "{written:?}");
    }

    #[test]
    fn a_record_goes_through_every_listener_of_kafka() {
        let kafka = Kafka::shared();
        exchange(kafka, kafka.client());
        for mechanism in ["PLAIN", "SCRAM-SHA-256"] {
            exchange(kafka, &KafkaClient::with(&kafka.sasl_ssl(), &by_password(mechanism, PASSWORD)));
        }
        exchange(kafka, &KafkaClient::with(&kafka.ssl(), &by_certificate(&Certificates::shared().ca)));
    }

    #[test]
    fn kafka_refuses_and_is_refused() {
        let kafka = Kafka::shared();
        let certificates = Certificates::shared();
        std::thread::scope(|scope| {
            scope.spawn(|| refused(&kafka.sasl_ssl(), &by_password("PLAIN", "wrong")));
            scope.spawn(|| refused(&kafka.sasl_ssl(), &by_password("SCRAM-SHA-256", "wrong")));
            scope.spawn(|| refused(&kafka.ssl(), &by_certificate(&certificates.other_ca)));
            scope.spawn(|| refused(&kafka.expired(), &by_certificate(&certificates.ca)));
            scope.spawn(|| {
                refused(
                    &kafka.ssl(),
                    &[("security.protocol", "SSL"), ("ssl.ca.location", path(&certificates.ca))],
                );
            });
        });
    }

    #[test]
    fn a_guest_writes_what_it_was_granted() {
        let kafka = Kafka::shared();
        let [open, closed] = ["open", "closed"].map(|name| kafka.topic(name, 1, &[]));
        let mut guest = by_password("PLAIN", "guest-secret");
        guest.push(("sasl.username", "guest"));
        let guest = KafkaClient::with(&kafka.sasl_ssl(), &guest);
        kafka.allow("WRITE", &open);
        guest.produce(&open, None, "{}", &[]);
        let denied = guest.try_produce(&closed, None, "{}", &[]);
        assert!(denied.as_ref().is_err_and(|error| error.contains("authorization failed")), "{denied:?}");
    }

    #[test]
    fn a_killed_kafka_comes_back_with_what_it_had() {
        let kafka = Kafka::start();
        kafka.create_guide_topics();
        kafka.client().produce_all("apg-config-general", (0..100).map(|n| ("default:app.x", n.to_string())));
        kafka.kill();
        kafka.restart();
        assert_eq!(kafka.client().read_all("apg-config-general").len(), 100);
    }
}

mod mosquitto {
    use super::*;

    /// Publishes and hears it back by a client in another language.
    fn paho(arguments: &[&str]) -> serde_json::Value {
        Python::start(include_str!("../support/peers/mqtt_echo.py"), arguments).answer()
    }

    #[test]
    fn a_message_goes_through_every_listener_of_mosquitto() {
        let mosquitto = Mosquitto::start(&MosquittoOptions::default());
        let mut client = MqttClient::connect(mosquitto.port);
        client.subscribe("apg/config/#");
        client.publish("apg/config/t1/app/x", "{}", true);
        let message = client.next_message();
        assert_eq!(
            (message.topic.as_str(), message.json(), message.retain, message.qos),
            ("apg/config/t1/app/x", json!({}), true, 1)
        );
        assert_eq!(MqttClient::retained(mosquitto.port, "#"), [message]);
        assert_eq!(client.messages_so_far(), []);

        let certificates = Certificates::shared();
        let [ca, other_ca] =
            [&certificates.ca, &certificates.other_ca].map(|file| file.display().to_string());
        let [tls, mtls, expired] =
            [mosquitto.tls_port, mosquitto.mtls_port, mosquitto.expired_port].map(|port| port.to_string());
        let [client, stranger] = [&certificates.client, &certificates.stranger]
            .map(|one| [one.certificate.display().to_string(), one.key.display().to_string()]);
        assert_eq!(paho(&[&tls, &ca, USER, PASSWORD]), json!({ "heard": "hello" }));
        assert_eq!(paho(&[&mtls, &ca, &client[0], &client[1], "mtls"]), json!({ "heard": "hello" }));
        assert!(paho(&[&tls, &other_ca, USER, PASSWORD])["refused"].is_string());
        assert!(paho(&[&expired, &ca, USER, PASSWORD])["refused"].is_string());
        assert!(paho(&[&mtls, &ca, &stranger[0], &stranger[1], "mtls"])["refused"].is_string());
    }

    #[test]
    fn mosquitto_refuses_a_wrong_password_and_what_a_guest_may_not_write() {
        let mosquitto = Mosquitto::start(&MosquittoOptions::default());
        MqttClient::connect_with(mosquitto.port, USER, "wrong").expect_err("a wrong password");
        let mut guest = MqttClient::connect_as(mosquitto.port, "guest").expect("a guest may come in");
        guest.publish("apg/config/t1/open/x", "{}", false);
        let denied = guest.try_publish("apg/config/t1/closed/x", "{}", false).expect("an answer");
        assert_eq!(format!("{denied:?}"), "NotAuthorized");
    }

    #[test]
    fn mosquitto_keeps_what_is_retained_when_it_is_started_again() {
        let mosquitto = Mosquitto::start(&MosquittoOptions::default());
        let mut client = MqttClient::connect(mosquitto.port);
        let numbers = ["apg/config/t1/a", "apg/config/t1/b"].map(|topic| (topic, "1".to_owned()));
        client.publish_all(numbers, true);
        mosquitto.restart();
        assert_eq!(MqttClient::retained(mosquitto.port, "apg/#").len(), 2);
    }
}

mod redis {
    use super::*;
    use ::redis::ErrorKind;

    #[test]
    fn a_value_goes_through_every_door_of_redis() {
        let redis = Redis::start(&RedisOptions::default());
        let certificates = Certificates::shared();
        let mut by_tls = redis.tls_client(&certificates.ca, Some(&certificates.client)).get_connection();
        let by_tls = by_tls.as_mut().expect("a connection by TLS");
        let _: () = ::redis::cmd("SET").arg("a").arg("1").query(by_tls).expect("a value is set");
        assert_eq!(redis.command::<String>(&["GET", "a"]), "1");
        assert_eq!(redis.n_connections(USER), 1);

        let wrong = redis.client(USER, "wrong").get_connection().map(|_| ());
        assert!(
            wrong.as_ref().is_err_and(|error| error.kind() == ErrorKind::AuthenticationFailed),
            "{wrong:?}"
        );
        let mut guest = redis.client("guest", "guest-secret").get_connection().expect("a guest may come in");
        let denied: Result<(), _> = ::redis::cmd("SET").arg("a").arg("2").query(&mut guest);
        assert!(denied.is_err_and(|error| error.code() == Some("NOPERM")));
        assert!(redis.tls_client(&certificates.other_ca, None).get_connection().is_err());

        redis.kill();
        redis.restart();
        assert_eq!(redis.command::<String>(&["GET", "a"]), "1");
    }

    #[test]
    fn an_expired_certificate_of_redis_is_seen() {
        let redis = Redis::start(&RedisOptions { is_expired: true, ..RedisOptions::default() });
        assert!(redis.tls_client(&Certificates::shared().ca, None).get_connection().is_err());
    }

    #[test]
    fn sentinels_choose_another_master() {
        let sentinels = Sentinels::start();
        sentinels.command::<()>(&["SET", "a", "1"]);
        assert_eq!(sentinels.command::<i64>(&["WAIT", "2", "5000"]), 2);
        sentinels.fail_over(|| ());
        assert_eq!(sentinels.command::<String>(&["GET", "a"]), "1");
    }

    #[test]
    fn a_replica_takes_over_in_a_cluster() {
        let cluster = Cluster::start();
        cluster.command::<()>(&["SET", "a", "1"]);
        cluster.fail_over("a", || ());
        cluster.command::<()>(&["SET", "a", "2"]);
        assert_eq!(cluster.command::<String>(&["GET", "a"]), "2");
    }
}
