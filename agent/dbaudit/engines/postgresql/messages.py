"""What the messages of sessions and statements begin with, in English and in every language that PostgreSQL
ships.

These messages have no SQLSTATE, so they are known by their words. The words are those of the catalogs of the
servers 13 to 18 (postgres-NN.mo); a test compares them with the catalogs of the installed ones.
"""

from __future__ import annotations

import re
from enum import Enum, auto


class Kind(Enum):
    """The messages that become events."""

    RECEIVED = auto()
    AUTHENTICATED = auto()
    AUTHORIZED = auto()
    REPLICATION_AUTHORIZED = auto()
    DISCONNECTED = auto()
    STATEMENT = auto()
    EXECUTE = auto()
    FETCH = auto()
    DURATION = auto()
    REPLICATION_COMMAND = auto()


LANGUAGES = frozenset(
    ("en", "de", "es", "fr", "id", "it", "ja", "ka", "ko", "pl", "pt_BR", "ru", "sv", "tr", "uk", "zh_CN")
)
"""In others a server speaks English in these messages."""

# English first, then by the codes of the languages, from de to zh_CN.
_BEGINNINGS: dict[Kind, tuple[str, ...]] = {
    Kind.RECEIVED: (
        "connection received: ",
        "Verbindung empfangen: ",
        "conexión recibida: ",
        "connexion reçue : ",
        "koneksi yang diterima: ",
        "koneksi yang diteruma: ",
        "connessione ricevuta: ",
        "接続を受け付けました: ",
        "შემოსული დაკავშირება: ",
        "접속 수락: ",
        "odebrano połączenie: ",
        "conexão recebida: ",
        "принято подключение: ",
        "ansluting mottagen: ",
        "bağlantı alındı: ",
        "з'єднання отримано: ",
        "已接收到连接: ",
    ),
    Kind.AUTHENTICATED: (
        "connection authenticated: ",
        "Verbindung authentifiziert: ",
        "conexión autenticada: ",
        "connexion authentifiée : ",
        "connessione autenticata: ",
        "接続認証完了: ",
        "მიერთება ავთენტიფიცირებულია: ",
        "연결 인증됨: ",
        "соединение аутентифицировано: ",
        "anslutning autentiserad: ",
        "підключення автентифіковано: ",
    ),
    Kind.AUTHORIZED: (
        "connection authorized: ",
        "Verbindung autorisiert: ",
        "conexión autorizada: ",
        "connexion autorisée : ",
        "koneksi terautorisasi: ",
        "connessione autorizzata: ",
        "接続が認証されました: ",
        "接続の認証完了: ",
        "შეერთება ავტორიზებულია: ",
        "연결 인증: ",
        "zautoryzowano połączenie: ",
        "conexão autorizada: ",
        "подключение авторизовано: ",
        "anslutning auktoriserad: ",
        "bağlantı tanımı: ",
        "підключення авторизовано: ",
        "已授权连接: ",
        "已授权连接 : ",
    ),
    Kind.REPLICATION_AUTHORIZED: (
        "replication connection authorized: ",
        "Replikationsverbindung autorisiert: ",
        "conexión de replicación autorizada: ",
        "connexion de réplication autorisée : ",
        "koneksi replikasi terautorisasi: ",
        "connessione di replica autorizzata: ",
        "レプリケーション接続の認証完了: ",
        "რეპლიკაციის შეერთება ავტორიზებულია: ",
        "복제 연결 인증: ",
        "zautoryzowano połączenie replikacji: ",
        "conexão de replicação autorizada: ",
        "подключение для репликации авторизовано: ",
        "replikeringsanslutning auktoriserad: ",
        "підключення для реплікації авторизовано: ",
        "复制连接已经授权: ",
    ),
    Kind.DISCONNECTED: (
        "disconnection: ",
        "Verbindungsende: ",
        "desconexión: ",
        "déconnexion : ",
        "pemutusan koneksi: ",
        "disconnessione: ",
        "接続を切断: ",
        "연결종료: ",
        "rozłączenie: ",
        "desconexão: ",
        "отключение: ",
        "nedkoppling: ",
        "bağlantı bitti: ",
        "відключення: ",
        "断开连接: ",
    ),
    Kind.STATEMENT: (
        "statement: ",
        "Anweisung: ",
        "sentencia: ",
        "instruction : ",
        "perintah: ",
        "istruzione: ",
        "文: ",
        "ოპერატორი: ",
        "명령 구문: ",
        "wyrażenie: ",
        "comando: ",
        "оператор: ",
        "sats: ",
        "komut: ",
        "语句: ",
    ),
    Kind.EXECUTE: (
        "execute ",
        "Ausführen ",
        "ejecutar ",
        "exécute ",
        "menjalankan ",
        "esecuzione di ",
        "実行 ",
        "გაშვება ",
        "쿼리실행 ",
        "wykonanie ",
        "executar ",
        "выполнение ",
        "kör ",
        "виконувати ",
        "执行 ",
        "执行<",
    ),
    Kind.FETCH: (
        "execute fetch from ",
        "Ausführen Fetch von ",
        "ejecutar fetch desde ",
        "exécute fetch à partir de ",
        "menjalankan 'fetch' dari ",
        "esecuzione di fetch da ",
        "取り出し実行 ",
        "자료뽑기 ",
        "wykonanie pobrania z ",
        "executar busca de ",
        "выборка из ",
        "kör hämtning från ",
        "виконати витягнення з ",
        "执行FETCH操作 ",
    ),
    Kind.DURATION: (
        "duration: ",
        "Dauer: ",
        "duración: ",
        "durée : ",
        "durasi: ",
        "durata: ",
        "期間: ",
        "ხანგრძლივობა: ",
        "실행시간: ",
        "수행시간: ",
        "czas trwania: ",
        "duração: ",
        "продолжительность: ",
        "varaktighet: ",
        "varaktighet ",
        "süre: ",
        "тривалість: ",
        "执行时间: ",
    ),
    Kind.REPLICATION_COMMAND: (
        "received replication command: ",
        "Replikationsbefehl empfangen: ",
        "se recibió orden de replicación: ",
        "commande de réplication reçu : ",
        "ricevuto comando di replica: ",
        "レプリケーションコマンドを受信しました: ",
        "მიღებულია რეპლიკაციის ბრძანება: ",
        "수신된 복제 명령: ",
        "otrzymano komendę replikacji: ",
        "comando de replicação recebido: ",
        "получена команда репликации: ",
        "tog emot replikeringskommando: ",
        "replikasyon komutu alındı: ",
        "отримано команду реплікації: ",
        "收到的复制命令：",
    ),
}

_UNITS = "ms|ミリ秒|მწმs?|мс|milisaniye"
_APPLICATION_WORDS = "application_name|nombre_de_aplicación|приложение|applikationsnamn|აპლიკაციის_სახელი"

AFTER_NAME = re.compile(r"[^:]*: ")
"""Between `execute` and the statement: the names of the prepared statement and the portal."""

MILLISECONDS = re.compile(rf"([\d.]{{1,20}}) (?:{_UNITS})(?:,? {{1,2}}|\Z)")
"""What follows the beginning of a duration; a message of its own may follow, of a statement for example."""

APPLICATION = re.compile(
    rf" (?:{_APPLICATION_WORDS})=(.*?)"
    r"(?: ?(?:connessione )?SSL ?[^\s(]{0,20} ?\([^()]*TLS[^()]*\)| GSS \(.*\)| ?GSS \([^()]*\))?\Z",
    re.DOTALL,
)
TLS = re.compile(r"SSL[^(]{0,24}\([^=:]+[=:] ?(TLSv[\d.]+)[,、][^=:]+[=:] ?([^,、]+)[,、]")
IDENTITY = re.compile(r'=(?:"(.*)"|«(.*)»|»(.*)«) \S{1,20}=(\S+)', re.DOTALL)
SESSION_TIME = re.compile(r"(\d{1,7}):(\d\d):(\d\d\.\d{3})")
PARAMETER = re.compile(r"\$\d+ = (?:NULL|'((?:[^']|'')*)')")

_BY_HEAD = {
    text[: text.index(":")]: (kind, len(text))
    for kind, texts in _BEGINNINGS.items()
    for text in texts
    if ":" in text
}
_LETTERS = 3
_OTHERS: dict[str, list[tuple[str, Kind]]] = {}
for _kind in (Kind.FETCH, Kind.EXECUTE, Kind.DURATION, Kind.REPLICATION_COMMAND):
    for _text in _BEGINNINGS[_kind]:
        if ":" not in _text:
            _OTHERS.setdefault(_text[:_LETTERS], []).append((_text, _kind))


def recognise(message: str) -> tuple[Kind, int] | None:
    """The kind of a message and where its text goes on; None for one that is of no concern."""
    found = _BY_HEAD.get(message[: message.find(":")])
    if found is not None:
        return found
    for text, kind in _OTHERS.get(message[:_LETTERS], ()):
        if message.startswith(text):
            return kind, len(text)
    return None
