-- Stubs that sqlc alone needs: it knows unnest with one array only. Never run.
CREATE FUNCTION unnest(anyarray, anyarray) RETURNS SETOF record LANGUAGE internal AS 'array_unnest';
CREATE FUNCTION unnest(anyarray, anyarray, anyarray) RETURNS SETOF record LANGUAGE internal AS 'array_unnest';
CREATE FUNCTION unnest(anyarray, anyarray, anyarray, anyarray) RETURNS SETOF record LANGUAGE internal AS 'array_unnest';
CREATE FUNCTION unnest(anyarray, anyarray, anyarray, anyarray, anyarray) RETURNS SETOF record LANGUAGE internal AS 'array_unnest';
CREATE FUNCTION unnest(anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray) RETURNS SETOF record LANGUAGE internal AS 'array_unnest';
CREATE FUNCTION unnest(anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray) RETURNS SETOF record LANGUAGE internal AS 'array_unnest';
CREATE FUNCTION unnest(anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray) RETURNS SETOF record LANGUAGE internal AS 'array_unnest';
CREATE FUNCTION unnest(anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray, anyarray) RETURNS SETOF record LANGUAGE internal AS 'array_unnest';
