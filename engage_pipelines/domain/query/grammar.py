"""Grammar of the language: shapes alone. Which function may stand where is for the builder, which names them in its messages."""

GRAMMAR = r"""
start: disjunction
trait: disjunction

?disjunction: conjunction (_OR conjunction)*
?conjunction: factor (_AND factor)*
?factor: comparison
       | NOT factor -> negation
       | ANY factor -> any_user
       | ALL factor -> all_users
?comparison: chain
           | chain OPERATOR chain -> sugar

?chain: primary
      | primary ("." call)+ -> chain
?primary: call
        | literal
        | LPAR disjunction ")" -> brackets

call: NAME "(" [_arguments] ")"
_arguments: argument ("," argument)*
?argument: NAME ":" value -> named
         | value -> unnamed
?value: disjunction
      | disjunction _AS NAME -> cast
      | NUMBER NAME -> duration
      | "[" disjunction ("," disjunction)* "]" -> several

literal: NUMBER | TEXT | TRUTH | MOMENT

_OR.3: /or(?![A-Za-z0-9_])/i
_AND.3: /and(?![A-Za-z0-9_])/i
NOT.3: /not(?![A-Za-z0-9_])/i
ANY.3: /any(?![A-Za-z0-9_])/i
ALL.3: /all(?![A-Za-z0-9_])/i
_AS.3: /as(?![A-Za-z0-9_])/i
TRUTH.3: /(?:true|false)(?![A-Za-z0-9_])/i
NAME: /[A-Za-z_][A-Za-z0-9_]*/
MOMENT.3: /[0-9]{4}-[0-9]{2}-[0-9]{2}(?:T[0-9:.]+(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?/
NUMBER.2: /[+-]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)/
TEXT: /'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"/s
OPERATOR: ">=" | "<=" | "!=" | "==" | "=" | ">" | "<"
LPAR: "("

%ignore /[ \t\r\n\f]+/
"""

WORDS = {
    "LPAR": "'('",
    "RPAR": "')'",
    "DOT": "'.' and a function such as count()",
    "COMMA": "','",
    "COLON": "':'",
    "LSQB": "'['",
    "RSQB": "']'",
    "_AND": "AND",
    "_OR": "OR",
    "NOT": "NOT",
    "ANY": "ANY",
    "ALL": "ALL",
    "_AS": "as",
    "NAME": "a name",
    "NUMBER": "a number",
    "TEXT": "a text in quotes",
    "TRUTH": "true or false",
    "MOMENT": "a date",
    "OPERATOR": "a comparison such as >= or =",
    "$END": "the end of the definition",
}
"""What people call the terminals."""

VALUE_STARTS = frozenset({"NAME", "NUMBER", "TEXT", "TRUTH", "MOMENT"})
CONDITION_STARTS = VALUE_STARTS | {"LPAR", "NOT", "ANY", "ALL"}
"""Terminals that can begin a value, and a condition; where all of them fit, a message says so in one phrase."""
