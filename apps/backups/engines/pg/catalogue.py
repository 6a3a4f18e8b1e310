"""A canonical listing of everything in a database that is not rows: one digest an object, equal after a true restore.

Only what a user made is listed, not what belongs to an extension. What PostgreSQL writes differently once it has read its
own text again (casts and brackets in expressions) is loosened on both sides, because it changes with every restore: the
expression `ARRAY['a'::varchar]::text[]` comes back as `ARRAY[('a'::varchar)::text]`. Everything else is exact.
"""

# ruff: noqa: E501, S608 the queries are put together from texts of our own, and read better unbroken
import hashlib
import re
from collections import defaultdict
from collections.abc import Callable

import psycopg

Catalogue = dict[str, dict[str, str]]  # kind → identity → digest

_CAST = re.compile(
    r'::\s*(?:"(?:[^"]|"")+"|[a-z_][\w$]*)(?:\.(?:"(?:[^"]|"")+"|[a-z_][\w$]*))?'
    r"(?: varying| precision| without time zone| with time zone)?(?:\(\d+(?:,\s*-?\d+)?\))?(?: without time zone| with time zone)?(?:\[\])*"
)
_SPACE = re.compile(r"[\s()]+")


def loosen(text: str) -> str:
    """Return an expression without casts, brackets and blanks."""
    return _SPACE.sub("", _CAST.sub("", text))


def digest(strict: str, loose: str) -> str:
    """Return the digest of one object's definition."""
    return hashlib.sha256(f"{strict}\0{loosen(loose)}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _acl(acl: str, kind: str, owner: str) -> str:
    """SQL for the rights on an object: spelled out, so that the default and the same written down are equal."""
    return (
        "(SELECT string_agg(g.t, ',' ORDER BY g.t) FROM (SELECT format('%s=%s%s', CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE "
        "pg_get_userbyid(a.grantee) END, a.privilege_type, CASE WHEN a.is_grantable THEN '*' ELSE '' END) COLLATE \"C\" AS t "
        f"FROM aclexplode(coalesce({acl}, acldefault('{kind}', {owner}))) a) g)"
    )


def _ours(catalog: str, oid: str) -> str:
    """SQL that keeps out what an extension made."""
    return f"NOT EXISTS (SELECT 1 FROM pg_depend e WHERE e.classid = '{catalog}'::regclass AND e.objid = {oid} AND e.deptype = 'e')"


USER_SCHEMA = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"

_COLUMNS = (  # of the options the two that a person can set; some builds keep a counter of their own beside them
    """(SELECT string_agg(concat_ws(' ', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod), a.attnotnull::text,
    a.attidentity, a.attgenerated, a.attstorage::text,
    (SELECT string_agg(o, ',' ORDER BY o COLLATE "C") FROM unnest(a.attoptions) o WHERE starts_with(o, 'n_distinct')),
    (SELECT quote_ident(cn.nspname) || '.' || quote_ident(co.collname) FROM pg_collation co JOIN pg_namespace cn ON cn.oid = co.collnamespace
      WHERE co.oid = a.attcollation),
    CASE WHEN a.attacl IS NOT NULL THEN """
    + _acl("a.attacl", "c", "c.relowner")
    + """ END), ', ' ORDER BY a.attname COLLATE "C")
  FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)"""
)
_DEFAULTS = """(SELECT string_agg(quote_ident(a.attname) || ' ' || pg_get_expr(f.adbin, f.adrelid), ', ' ORDER BY a.attname COLLATE "C")
  FROM pg_attrdef f JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum WHERE f.adrelid = c.oid)"""
_PARENTS = """(SELECT string_agg(i.inhparent::regclass::text, ',' ORDER BY i.inhseqno) FROM pg_inherits i WHERE i.inhrelid = c.oid)"""

# kind → SQL for (identity, exact text, text to be loosened)
QUERIES: dict[str, str] = {
    "schema": f"""SELECT quote_ident(n.nspname), concat_ws(' ', pg_get_userbyid(n.nspowner), {_acl("n.nspacl", "n", "n.nspowner")}), ''
      FROM pg_namespace n WHERE {USER_SCHEMA} AND {_ours("pg_namespace", "n.oid")}""",
    "table": f"""SELECT c.oid::regclass::text, concat_ws(' ', c.relkind::text, c.relpersistence::text, pg_get_userbyid(c.relowner),
        {_acl("c.relacl", "r", "c.relowner")}, c.relrowsecurity::text, c.relforcerowsecurity::text, c.relreplident::text,
        c.reloptions::text, c.relispopulated::text, {_PARENTS}, CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END,
        {_COLUMNS}),
        concat_ws(' ', CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END, pg_get_expr(c.relpartbound, c.oid), {_DEFAULTS})
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND c.relpersistence <> 't' AND {USER_SCHEMA} AND {_ours("pg_class", "c.oid")}""",
    "index": f"""SELECT i.indexrelid::regclass::text, concat_ws(' ', i.indisclustered::text, i.indisreplident::text),
        pg_get_indexdef(i.indexrelid)
      FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relpersistence <> 't' AND (i.indisvalid OR x.relkind = 'I') AND {USER_SCHEMA} AND {_ours("pg_class", "c.oid")}
        AND {_ours("pg_class", "x.oid")}""",
    "constraint": f"""SELECT concat_ws('.', CASE WHEN o.conrelid <> 0 THEN o.conrelid::regclass::text ELSE o.contypid::regtype::text END,
        quote_ident(o.conname)), concat_ws(' ', o.contype::text, o.convalidated::text, o.condeferrable::text, o.condeferred::text),
        pg_get_constraintdef(o.oid)
      FROM pg_constraint o JOIN pg_namespace n ON n.oid = o.connamespace LEFT JOIN pg_class c ON c.oid = o.conrelid
      WHERE {USER_SCHEMA} AND coalesce(c.relpersistence, 'p') <> 't' AND {_ours("pg_constraint", "o.oid")}
        AND {_ours("pg_class", "o.conrelid")} AND {_ours("pg_type", "o.contypid")}""",
    "trigger": f"""SELECT t.tgrelid::regclass::text || '.' || quote_ident(t.tgname), t.tgenabled::text, pg_get_triggerdef(t.oid)
      FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE NOT t.tgisinternal AND {USER_SCHEMA} AND {_ours("pg_trigger", "t.oid")} AND {_ours("pg_class", "c.oid")}""",
    "rule": f"""SELECT r.ev_class::regclass::text || '.' || quote_ident(r.rulename), r.ev_enabled::text, pg_get_ruledef(r.oid)
      FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE r.rulename <> '_RETURN' AND {USER_SCHEMA} AND {_ours("pg_class", "c.oid")}""",
    "policy": f"""SELECT p.polrelid::regclass::text || '.' || quote_ident(p.polname), concat_ws(' ', p.polcmd::text, p.polpermissive::text,
        (SELECT string_agg(CASE r.id WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(r.id) END, ',' ORDER BY pg_get_userbyid(r.id)) FROM unnest(p.polroles) AS r(id))),
        concat_ws(' / ', pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
      FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {USER_SCHEMA}""",
    "function": f"""SELECT p.oid::regprocedure::text, concat_ws(' ', p.prokind::text, pg_get_userbyid(p.proowner),
        {_acl("p.proacl", "f", "p.proowner")}, p.prosrc, p.probin, p.prosecdef::text, p.proleakproof::text, p.provolatile::text,
        p.proparallel::text, p.proconfig::text, p.procost::text, p.prorows::text, pg_get_function_result(p.oid),
        (SELECT l.lanname FROM pg_language l WHERE l.oid = p.prolang),
        (SELECT concat_ws(' ', g.aggkind::text, g.aggtransfn::text, g.aggfinalfn::text, g.aggcombinefn::text, format_type(g.aggtranstype, NULL),
          g.agginitval) FROM pg_aggregate g WHERE g.aggfnoid = p.oid)),
        concat_ws(' ', pg_get_function_arguments(p.oid), CASE WHEN p.prosrc = '' AND p.prokind <> 'a' THEN pg_get_functiondef(p.oid) END)
      FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {USER_SCHEMA} AND {_ours("pg_proc", "p.oid")}
        AND NOT EXISTS (SELECT 1 FROM pg_depend i WHERE i.classid = 'pg_proc'::regclass AND i.objid = p.oid AND i.deptype = 'i')""",
    "type": f"""SELECT t.oid::regtype::text, concat_ws(' ', t.typtype::text, pg_get_userbyid(t.typowner), {_acl("t.typacl", "T", "t.typowner")},
        CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END, t.typnotnull::text,
        (SELECT string_agg(quote_literal(e.enumlabel), ',' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid),
        (SELECT concat_ws(' ', format_type(r.rngsubtype, NULL), r.rngcanonical::text, r.rngsubdiff::text) FROM pg_range r WHERE r.rngtypid = t.oid)),
        t.typdefault
      FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid
      WHERE {USER_SCHEMA} AND t.typtype IN ('b', 'c', 'd', 'e', 'r') AND (t.typrelid = 0 OR c.relkind = 'c') AND t.typcategory <> 'A'
        AND {_ours("pg_type", "t.oid")}""",
    "sequence": f"""SELECT s.seqrelid::regclass::text, concat_ws(' ', format_type(s.seqtypid, NULL), s.seqstart::text, s.seqincrement::text,
        s.seqmax::text, s.seqmin::text, s.seqcache::text, s.seqcycle::text, pg_get_userbyid(c.relowner), {_acl("c.relacl", "s", "c.relowner")},
        (SELECT string_agg(d.refobjid::regclass::text || '.' || a.attname, ',') FROM pg_depend d JOIN pg_attribute a
          ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
          AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i'))), ''
      FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relpersistence <> 't' AND {USER_SCHEMA} AND {_ours("pg_class", "c.oid")}""",
    "statistics": f"""SELECT quote_ident(n.nspname) || '.' || quote_ident(s.stxname), pg_get_userbyid(s.stxowner), pg_get_statisticsobjdef(s.oid)
      FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE {USER_SCHEMA} AND {_ours("pg_statistic_ext", "s.oid")}""",
    "collation": f"""SELECT quote_ident(n.nspname) || '.' || quote_ident(o.collname),
        (to_jsonb(o) - 'oid' - 'collnamespace' - 'collowner' - 'collversion')::text, ''
      FROM pg_collation o JOIN pg_namespace n ON n.oid = o.collnamespace WHERE {USER_SCHEMA} AND {_ours("pg_collation", "o.oid")}""",
    "default rights": """SELECT concat_ws(' ', quote_ident(pg_get_userbyid(d.defaclrole)), quote_ident(n.nspname), d.defaclobjtype::text),
        (SELECT string_agg(g.t, ',' ORDER BY g.t) FROM (SELECT format('%s=%s%s', CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE
          pg_get_userbyid(a.grantee) END, a.privilege_type, CASE WHEN a.is_grantable THEN '*' ELSE '' END) COLLATE "C" AS t
          FROM aclexplode(d.defaclacl) a) g), ''
      FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace""",
    "event trigger": f"""SELECT quote_ident(v.evtname), concat_ws(' ', v.evtevent, v.evtenabled::text, v.evtfoid::regprocedure::text, v.evttags::text), ''
      FROM pg_event_trigger v WHERE {_ours("pg_event_trigger", "v.oid")}""",
    "publication": """SELECT quote_ident(p.pubname), concat_ws(' ', p.puballtables::text, p.pubinsert::text, p.pubupdate::text, p.pubdelete::text,
        (SELECT string_agg(r.prrelid::regclass::text, ',' ORDER BY r.prrelid::regclass::text COLLATE "C") FROM pg_publication_rel r
          WHERE r.prpubid = p.oid)), '' FROM pg_publication p""",
    "foreign server": f"""SELECT quote_ident(s.srvname), (SELECT w.fdwname FROM pg_foreign_data_wrapper w WHERE w.oid = s.srvfdw), ''
      FROM pg_foreign_server s WHERE {_ours("pg_foreign_server", "s.oid")}""",
    "comment": """SELECT i.type || ' ' || i.identity, d.description, '' FROM pg_description d,
        pg_identify_object(d.classoid, d.objoid, d.objsubid) i
      WHERE d.objoid >= 16384 AND i.type IS NOT NULL AND i.identity !~ '^pg_' AND i.type <> 'extension' AND NOT EXISTS (SELECT 1 FROM pg_depend e
        WHERE e.classid = d.classoid AND e.objid = d.objoid AND e.deptype = 'e')""",
}
# Kinds without a definition of their own that PostgreSQL writes out: that they are there, and whose.
_PLAIN = {
    "cast": ("pg_cast", "o.castmethod::text || o.castcontext::text"),
    "operator": ("pg_operator", "pg_get_userbyid(o.oprowner)"),
    "operator class": ("pg_opclass", "o.opcdefault::text"),
    "operator family": ("pg_opfamily", "''"),
    "conversion": ("pg_conversion", "o.condefault::text"),
    "text search configuration": ("pg_ts_config", "pg_get_userbyid(o.cfgowner)"),
    "text search dictionary": ("pg_ts_dict", "pg_get_userbyid(o.dictowner) || coalesce(o.dictinitoption, '')"),
    "text search parser": ("pg_ts_parser", "''"),
    "text search template": ("pg_ts_template", "''"),
    "language": ("pg_language", "o.lanpltrusted::text"),
    "transform": ("pg_transform", "''"),
    "access method": ("pg_am", "o.amtype::text"),
    "foreign data wrapper": ("pg_foreign_data_wrapper", "coalesce(o.fdwoptions::text, '')"),
}
for _kind, (_table, _text) in _PLAIN.items():
    QUERIES[_kind] = (
        f"SELECT i.identity, {_text}, '' FROM {_table} o, pg_identify_object('{_table}'::regclass, o.oid, 0) i "
        f"WHERE o.oid >= 16384 AND {_ours(_table, 'o.oid')}"
    )


def listing(connection: psycopg.Connection, seen: Callable[[], None] = lambda: None) -> Catalogue:
    """Return the digest of every object, by kind. One query a kind, however many objects there are."""
    found: Catalogue = defaultdict(dict)
    for kind, query in QUERIES.items():
        for name, strict, loose in connection.execute(query):
            found[kind][name] = digest(strict or "", loose or "")
        seen()
    return dict(found)


def differences(recorded: Catalogue, restored: Catalogue) -> list[str]:
    """Return what differs, in words, most telling kinds first: "view public.v is missing"."""
    said = []
    for kind in [*QUERIES, *sorted(set(recorded) - set(QUERIES))]:
        old, new = recorded.get(kind, {}), restored.get(kind, {})
        said += [f"{kind} {name} is missing" for name in sorted(old.keys() - new.keys())]
        said += [f"{kind} {name} was not in the dump" for name in sorted(new.keys() - old.keys())]
        said += [f"{kind} {name} differs" for name in sorted(old.keys() & new.keys()) if old[name] != new[name]]
    return said
