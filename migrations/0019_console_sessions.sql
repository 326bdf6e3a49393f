-- Who is signed in to the console. The cookie is kept nowhere: only its SHA-256.
CREATE TABLE IF NOT EXISTS console_sessions (
    session_hash BINARY(32) NOT NULL PRIMARY KEY COMMENT 'SHA-256 of the cookie',
    key_name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'the API key that signed in',
    key_hash BINARY(32) NOT NULL COMMENT 'SHA-256 of what API_KEYS has of its secret: with another one the session is over',
    expires_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    created_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    KEY expires (expires_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;
