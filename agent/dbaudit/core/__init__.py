"""The words of the domain; this package knows no other part of dbaudit."""
