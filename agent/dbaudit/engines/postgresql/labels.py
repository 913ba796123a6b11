"""The words that the server puts before a message in its text log, in every language that PostgreSQL ships.

A record's first line says how severe it is (`LOG:  `), its further ones what they hold (`DETAIL:  `). The
words are those of the catalogs of the servers 13 to 18 (postgres-NN.mo); a test compares them with the
catalogs of the installed ones.
"""

from __future__ import annotations

from enum import StrEnum


class Level(StrEnum):
    """How severe a record is, in the words of jsonlog."""

    DEBUG = "DEBUG"
    LOG = "LOG"
    INFO = "INFO"
    NOTICE = "NOTICE"
    WARNING = "WARNING"
    ERROR = "ERROR"
    FATAL = "FATAL"
    PANIC = "PANIC"


FAILURES = frozenset({Level.ERROR, Level.FATAL, Level.PANIC})


class Part(StrEnum):
    """What a further line of a record holds."""

    DETAIL = "detail"
    HINT = "hint"
    QUERY = "query"
    CONTEXT = "context"
    LOCATION = "location"
    BACKTRACE = "backtrace"
    STATEMENT = "statement"


# English first, then by the codes of the languages, from de to zh_CN.
SEVERITIES: dict[Level, tuple[str, ...]] = {
    Level.DEBUG: (
        *("DEBUG", "DEPURACIÓN", "გამართვა", "디버그", "ОТЛАДКА", "НАЛАГОДЖЕННЯ", "调试"),
        *("DEBUG1", "DEBUG2", "DEBUG3", "DEBUG4", "DEBUG5"),
    ),
    Level.LOG: ("LOG", "ჟურნალი", "로그", "DZIENNIK", "СООБЩЕНИЕ", "LOGG", "ЗАПИСУВАННЯ", "日志"),
    Level.INFO: (
        *("INFO", "ინფორმაცია", "정보", "INFORMACJA", "INFORMAÇÃO", "ИНФОРМАЦИЯ", "BİLGİ", "ІНФОРМАЦІЯ"),
        "信息",
    ),
    Level.NOTICE: (
        *("NOTICE", "HINWEIS", "NOTIFICA", "알림", "UWAGA", "NOTA", "ЗАМЕЧАНИЕ", "NOTIS", "NOT"),
        *("ПОВІДОМЛЕННЯ", "注意"),
    ),
    Level.WARNING: (
        *("WARNING", "WARNUNG", "ADVERTENCIA", "ATTENTION", "ATTENZIONE", "გაფრთხილება", "경고"),
        *("OSTRZEŻENIE", "AVISO", "ПРЕДУПРЕЖДЕНИЕ", "VARNING", "UYARI", "ПОПЕРЕДЖЕННЯ", "警告"),
    ),
    Level.ERROR: (
        *("ERROR", "FEHLER", "ERREUR", "ERRORE", "შეცდომა", "오류", "BŁĄD", "ERRO", "ОШИБКА", "FEL", "HATA"),
        *("ПОМИЛКА", "错误"),
    ),
    Level.FATAL: (
        *("FATAL", "FATALE", "ფატალური", "치명적오류", "KATASTROFALNY", "ВАЖНО", "FATALT"),
        *("ÖLÜMCÜL (FATAL)", "ФАТАЛЬНО", "致命错误"),
    ),
    Level.PANIC: (
        *("PANIC", "PANIK", "PÁNICO", "PANICO", "პანიკა", "손상", "PANIKA", "PÂNICO", "ПАНИКА"),
        *("KRİTİK (PANIC)", "ПАНІКА", "比致命错误还过分的错误"),
    ),
}
"""Each is followed by a colon and two blanks, in every language."""

PARTS: dict[Part, tuple[str, ...]] = {
    Part.DETAIL: (
        *("DETAIL:  ", "DETALLE:  ", "DÉTAIL:  ", "DÉTAIL : ", "DETTAGLI:  ", "詳細:  ", "დეტალები:  "),
        *("상세정보:  ", "SZCZEGÓŁY:  ", "DETALHE:  ", "ПОДРОБНОСТИ:  ", "DETALJ:  ", "DETAY:  "),
        *("ВІДОМОСТІ:  ", "详细信息:  ", "描述:  "),
    ),
    Part.HINT: (
        *("HINT:  ", "TIPP:  ", "SUGERENCIA:  ", "ASTUCE :  ", "SUGGERIMENTO:  ", "ヒント:  "),
        *("მინიშნება:  ", "힌트:  ", "PODPOWIEDŹ:  ", "DICA:  ", "ПОДСКАЗКА:  ", "TIPS:  ", "İPUCU:  "),
        *("УКАЗІВКА:  ", "提示:  "),
    ),
    Part.QUERY: (
        *("QUERY:  ", "ANFRAGE:  ", "CONSULTA:  ", "REQUÊTE :  ", "問い合わせ:  ", "მოთხოვნა:  ", "쿼리:"),
        *("ZAPYTANIE:  ", "ЗАПРОС:  ", "FRÅGA:  ", "SORGU:  ", "ЗАПИТ:  ", "查询:  "),
    ),
    Part.CONTEXT: (
        *("CONTEXT:  ", "ZUSAMMENHANG:  ", "CONTEXTO:  ", "CONTEXTE :  ", "CONTESTO:  ", "文脈:  "),
        *("კონტექსტი:  ", "내용:  ", "KONTEKST:  ", "КОНТЕКСТ:  ", "KONTEXT:  ", "BAĞLAM:  ", "上下文:  "),
    ),
    Part.LOCATION: (
        *("LOCATION:  ", "ORT:  ", "UBICACIÓN:  ", "EMPLACEMENT :  ", "POSIZIONE:  ", "場所:  "),
        *("მდებარეობა:   ", "위치: ", "POŁOŻENIE: ", "LOCAL:  ", "ПОЛОЖЕНИЕ: ", "PLATS:  ", "YER:  "),
        *("РОЗТАШУВАННЯ:  ", "位置:  "),
    ),
    Part.BACKTRACE: (
        *("BACKTRACE:  ", "PILE D'APPEL : ", "バックトレース:  ", "სტეკი:  ", "역추적:  ", "СТЕК:  "),
        "ВІДСТЕЖУВАТИ:  ",
    ),
    Part.STATEMENT: (
        *("STATEMENT:  ", "ANWEISUNG:  ", "SENTENCIA:  ", "INSTRUCTION :  ", "ISTRUZIONE:  ", "文:  "),
        *("ოპერატორი:  ", "명령 구문:  ", "WYRAŻENIE:  ", "COMANDO:  ", "ОПЕРАТОР:  ", "SATS:  "),
        *("KOMUT:  ", "ІНСТРУКЦІЯ:  ", "语句:  "),
    ),
}

POSITIONS = (
    *(" at character %d", " bei Zeichen %d", " en carácter %d", " au caractère %d", " al carattere %d"),
    *("(%d文字目)", " სიმბოლოსთან %d", " %d 번째 문자 부근", " znak %d", " no caracter %d", " (символ %d)"),
    *(" vid tecken %d", " %d karakterinde", " символ %d", " 第 %d 个字符处"),
)
"""What stands behind the message of an error that has a place in its statement."""

UNKNOWN = frozenset(
    {
        *("[unknown]", "[unbekannt]", "[desconocido]", "[inconnu]", "[sconosciuto]", "[不明]", "[უცნობი]"),
        *("[알수없음]", "[nieznany]", "[desconhecido]", "[н/д]", "[okänd]", "[bilinmeyen]", "[невідомо]"),
        "[未知]",
    }
)
"""What stands for a user, a database or an application that there is not."""
