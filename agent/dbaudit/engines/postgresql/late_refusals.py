"""Refusals that come once a statement has started: by row-level security, and of the rights on functions.

They share their SQLSTATE with refusals that come before, such as those of the rights on tables, so only the
words distinguish them: those of the catalogs of the servers 13 to 18 (postgres-NN.mo). A test compares them
with the catalogs of the installed ones.
"""

from __future__ import annotations

import re

_INSUFFICIENT_PRIVILEGE = "42501"

# English first, then by the codes of the languages, from de to zh_TW.
_ROW_LEVEL_SECURITY = (
    "new row violates row-level security policy ",
    "target row violates row-level security policy ",
    "neue Zeile verletzt Policy für Sicherheit auf Zeilenebene ",
    "Zielzeile verletzt Policy für Sicherheit auf Zeilenebene ",
    "el nuevo registro viola la política de seguridad de registros ",
    "el registro destino viola la política de seguridad de registros ",
    "la nouvelle ligne viole la politique de sécurité au niveau ligne ",
    "la nuova riga viola la regola di sicurezza per riga ",
    "la riga di destinazione viola la politica di sicurezza a livello di riga ",
    '新しい行はテーブル"',
    'ターゲットの行はテーブル"',
    "ახალი მწკრივი ",
    '새 자료가 "',
    '대상 로우가 "',
    "nowy wiersz narusza politykę bezpieczeństwa na poziomie wierszy ",
    "a nova linha viola a política de segurança no nível de linha ",
    "a linha de destino viola a política de segurança no nível de linha ",
    "новая строка нарушает политику защиты на уровне строк ",
    'целевая строка нарушает политику защиты на уровне строк "',
    "ny rad bryter mot radsäkerhetspolicy ",
    "målraden bryter mot radsäkerhetspolicy",
    'yeni kayıt, "',
    "новий рядок порушує політику захисту на рівні рядків ",
    "цільовий рядок порушує політику захисту на рівні рядків ",
    '新行违背了表"',
    '新行违反表 "',
    '目标行违反表 "',
    '新資料列違反資料表 "',
    '目標資料列違反資料表 "',
)
"""What the messages begin with."""

_RIGHTS_ON_FUNCTIONS = (
    "permission denied for function %s",
    "permission denied for procedure %s",
    "permission denied for aggregate %s",
    "permission denied for routine %s",
    "keine Berechtigung für Funktion %s",
    "keine Berechtigung für Prozedur %s",
    "keine Berechtigung für Aggregatfunktion %s",
    "keine Berechtigung für Routine %s",
    "permiso denegado a la función %s",
    "permiso denegado al procedimiento %s",
    "permiso denegado a la función de agregación %s",
    "permiso denegado a la rutina %s",
    "droit refusé pour la fonction %s",
    "droit refusé pour la procédure %s",
    "droit refusé pour l'aggrégat %s",
    "droit refusé pour l'agrégat %s",
    "droit refusé pour la routine %s",
    "ijin ditolak untuk fungsi %s",
    "permesso negato per la funzione %s",
    "permesso negato per la procedura %s",
    "permesso negato per l'aggregato %s",
    "permesso negato per la routine %s",
    "関数 %s へのアクセスが拒否されました",
    "プロシージャ %s へのアクセスが拒否されました",
    "集約 %s へのアクセスが拒否されました",
    "ルーチン %s へのアクセスが拒否されました",
    'წვდომა აკრძალულია ფუნქციაზე: "%s"',
    'წვდომა აკრძალულია პროცედურაზე: "%s"',
    'წვდომა აკრძალულია აგრეგატზე: "%s"',
    'წვდომა აკრძალულია ქვეპროგრამაზე: "%s"',
    "%s 함수 접근 권한 없음",
    "%s 프로시져에 대한 접근 권한 없음",
    "%s 집계함수에 대한 접근 권한 없음",
    "%s 루틴에 대한 접근 권한 없음",
    "odmowa dostępu do funkcji %s",
    "permissão negada para função %s",
    "permissão negada para procedimento %s",
    "permissão negada para agregação %s",
    "permissão negada para rotina %s",
    "нет доступа к функции %s",
    "нет доступа к процедуре %s",
    "нет доступа к агрегату %s",
    "нет доступа к подпрограмме %s",
    "rättighet saknas för funktion %s",
    "rättighet saknas för procedur %s",
    "rättighet saknas för aggregat %s",
    "rättighet saknas för rutin %s",
    "%s fonksiyonuna erişim engellendi",
    "%s yordamına (procedure) erişim engellendi",
    "%s toplamına (aggregate) erişim engellendi",
    "%s yordamına erişim engellendi",
    "немає дозволу для функції %s",
    "немає дозволу для процедури %s",
    "немає дозволу для агрегату %s",
    "немає дозволу для підпрограми %s",
    "对函数 %s 权限不够",
    "对函数 %s 的权限不足",
    "对过程 %s 权限不够",
    "对过程 %s 的权限不足",
    "对聚合 %s 权限不够",
    "对聚合函数 %s 的权限不足",
    "对routine %s 权限不够",
    "对例程 %s 的权限不足",
    "對函式 %s 的權限不足",
    "對程序 %s 的權限不足",
    "對聚合函式 %s 的權限不足",
    "對常式 %s 的權限不足",
)
"""The messages, of a function or another routine. One with a blank in its name is not recognised."""

# Where a message begins with a name, that name may imitate another message.
_OF_A_NAME_FIRST = r"(?!.*(?:권한 없음|erişim engellendi)\Z)"
_MESSAGES = re.compile(
    "|".join(
        [f"{_OF_A_NAME_FIRST}{re.escape(text)}.*" for text in _ROW_LEVEL_SECURITY]
        + [re.escape(text).replace("%s", r"\S+") for text in _RIGHTS_ON_FUNCTIONS]
    ),
    re.DOTALL,
)


def is_late_refusal(message: str, code: str) -> bool:
    """Whether the error with this message and SQLSTATE is a refusal that comes after a statement's start."""
    return code == _INSUFFICIENT_PRIVILEGE and _MESSAGES.fullmatch(message) is not None
