-- One of every kind of thing that a dump holds, with names that hurt; the round trip must bring each back exactly.
CREATE ROLE "app owner" NOLOGIN;
CREATE ROLE reader NOLOGIN;
CREATE SCHEMA "Sales ""north""" AUTHORIZATION "app owner";
CREATE SCHEMA tools;
GRANT USAGE ON SCHEMA tools TO reader;
CREATE TYPE tools.mood AS ENUM ('sad', 'it''s ok', 'glück');
CREATE TYPE tools.pair AS (a int, b text);
CREATE DOMAIN tools.positive AS int NOT NULL DEFAULT 1 CHECK (VALUE > 0);
CREATE TYPE tools.span AS RANGE (subtype = float8);
CREATE FUNCTION tools.double(x int) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT x * 2 $$;
CREATE FUNCTION tools.atomic(x int) RETURNS int LANGUAGE sql IMMUTABLE BEGIN ATOMIC SELECT (x + 1)::int; END;
CREATE FUNCTION tools.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.touched := true; RETURN NEW; END $$;
CREATE FUNCTION tools.many(OUT a int, OUT b text, VARIADIC c int[] DEFAULT '{}') LANGUAGE plpgsql SECURITY DEFINER SET work_mem = '8MB' AS $$ BEGIN a := 1; b := 'x'; END $$;
CREATE PROCEDURE tools.run(INOUT n int) LANGUAGE plpgsql AS $$ BEGIN n := n + 1; END $$;
REVOKE EXECUTE ON FUNCTION tools.double(int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tools.double(int) TO reader WITH GRANT OPTION;
CREATE AGGREGATE tools.total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
CREATE OPERATOR tools.<+> (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl);
CREATE CAST (tools.pair AS text) WITH INOUT AS ASSIGNMENT;
CREATE TABLE "Sales ""north"""."T äble
two" (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "we""ird' col" text, state varchar(10) CHECK (state IN ('new', 'paid')), m tools.mood,
  p tools.pair, d tools.positive, s tools.span, n numeric(10,2) DEFAULT 1.50, f float8, r real, t timestamptz DEFAULT now(), i interval,
  b bytea, j jsonb, a int[], u uuid, x xml, doubled int GENERATED ALWAYS AS (id * 2) STORED, money money, ip inet, v tsvector, bits bit(3));
ALTER TABLE "Sales ""north"""."T äble
two" OWNER TO "app owner";
INSERT INTO "Sales ""north"""."T äble
two" ("we""ird' col", state, m, p, d, s, f, r, i, b, j, a, u, money, ip, v, bits)
  SELECT 'row ' || g || E'\n\t\\ é', CASE WHEN g % 2 = 0 THEN 'new' ELSE 'paid' END, 'glück', ROW(g, 'b,"')::tools.pair, g, '[1.1,2.2)', 1.0 / g, 0.1::real * g,
    make_interval(days => g, secs => 0.5), decode(md5(g::text), 'hex'), jsonb_build_object('k', g), ARRAY[g, NULL, 3], md5(g::text)::uuid, g * 1.5,
    '10.0.0.1', to_tsvector('simple', 'a b'), B'101' FROM generate_series(1, 300) g;
INSERT INTO "Sales ""north"""."T äble
two" (f, r, d) VALUES ('NaN', '-Infinity', 3), ('-0', 1e-45, 4);
CREATE TABLE tools.parent (id bigserial, at date NOT NULL, note text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE tools.p2024 PARTITION OF tools.parent FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE tools.p2025 PARTITION OF tools.parent FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') PARTITION BY LIST (at);
CREATE TABLE tools.p2025a PARTITION OF tools.p2025 FOR VALUES IN ('2025-01-05');
CREATE TABLE tools.p2025d PARTITION OF tools.p2025 DEFAULT;
INSERT INTO tools.parent (at, note) SELECT date '2024-06-01' + g, CASE WHEN g % 3 = 0 THEN 'a' ELSE 'z' END FROM generate_series(0, 500) g;
CREATE INDEX ON tools.parent (note);
CREATE TABLE tools.base (a int, b text);
CREATE TABLE tools.child (own int) INHERITS (tools.base);
ALTER TABLE tools.base ADD COLUMN later text DEFAULT 'x';
INSERT INTO tools.base VALUES (1, 'b'), (2, NULL);
INSERT INTO tools.child (a, b, own) VALUES (3, 'c', 30);
ALTER TABLE tools.base DROP COLUMN b;
CREATE TABLE tools."M" (m int, "M" text);
INSERT INTO tools."M" VALUES (1, 'x');
CREATE TABLE tools.nothing ();
INSERT INTO tools.nothing DEFAULT VALUES;
CREATE TABLE public.users (id serial PRIMARY KEY, name text NOT NULL, boss int REFERENCES public.users, secret text, touched bool,
  EXCLUDE USING btree (name WITH =), CONSTRAINT named CHECK (name <> '' OR id > 0) NO INHERIT);
INSERT INTO public.users (name, boss, secret) VALUES ('ada', NULL, 's'), ('bob', 1, 't');
ALTER TABLE public.users ADD CONSTRAINT later FOREIGN KEY (boss) REFERENCES public.users DEFERRABLE INITIALLY DEFERRED NOT VALID;
CREATE UNIQUE INDEX ON public.users (lower(name)) WHERE id > 0;
CREATE INDEX by_double ON public.users (tools.double(id) DESC NULLS LAST) INCLUDE (name);
ALTER TABLE public.users CLUSTER ON users_pkey;
ALTER TABLE public.users ALTER COLUMN name SET STATISTICS 500;
ALTER TABLE public.users ALTER COLUMN secret SET STORAGE EXTERNAL;
CREATE STATISTICS tools.st (dependencies) ON id, name FROM public.users;
CREATE TRIGGER touch BEFORE UPDATE ON public.users FOR EACH ROW WHEN (OLD.name IS DISTINCT FROM NEW.name) EXECUTE FUNCTION tools.touch();
CREATE RULE nope AS ON DELETE TO tools.base DO INSTEAD NOTHING;
ALTER TABLE public.users ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.users FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON public.users FOR SELECT TO reader, "app owner" USING (name = CURRENT_USER::text);
GRANT SELECT (id, name), UPDATE (name) ON public.users TO reader;
GRANT ALL ON ALL TABLES IN SCHEMA tools TO "app owner";
ALTER DEFAULT PRIVILEGES IN SCHEMA tools GRANT SELECT ON TABLES TO reader;
ALTER DEFAULT PRIVILEGES FOR ROLE "app owner" REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
CREATE VIEW tools.v AS SELECT u.id, u.name AS "the name", count(*) OVER () FROM public.users u WHERE u.name::varchar(5) IN ('a', 'b');
CREATE VIEW "Sales ""north""".w WITH (security_barrier) AS SELECT * FROM tools.v;
ALTER VIEW tools.v OWNER TO "app owner";
CREATE MATERIALIZED VIEW tools.mv AS SELECT state, count(*) FROM "Sales ""north"""."T äble
two" GROUP BY state;
CREATE UNIQUE INDEX ON tools.mv (state);
CREATE MATERIALIZED VIEW tools.mv_empty AS SELECT 1 AS x WITH NO DATA;
CREATE SEQUENCE tools.seq AS smallint INCREMENT BY -2 MAXVALUE 100 START 50 CYCLE CACHE 5;
SELECT nextval('tools.seq'), nextval('tools.seq');
CREATE SEQUENCE tools.unused OWNED BY tools.base.a;
SELECT setval('tools.unused', 77, false);
SELECT lo_from_bytea(4711, '\x00ff00'::bytea), lo_from_bytea(0, convert_to(repeat('x', 70000), 'UTF8'));
ALTER LARGE OBJECT 4711 OWNER TO "app owner";
COMMENT ON TABLE public.users IS 'who
is who';
COMMENT ON COLUMN public.users.name IS 'it''s';
COMMENT ON SCHEMA tools IS 'tools';
COMMENT ON LARGE OBJECT 4711 IS 'lo';
CREATE COLLATION tools.c (provider = libc, locale = 'C');
CREATE TEXT SEARCH CONFIGURATION tools.ts (COPY = pg_catalog.simple);
CREATE FUNCTION tools.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'ddl'; END $$;
CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION tools.on_ddl();
CREATE PUBLICATION pub FOR TABLE tools.base, public.users;
CREATE UNLOGGED TABLE tools.cache (k text PRIMARY KEY, v text);
INSERT INTO tools.cache VALUES ('a', 'b');
