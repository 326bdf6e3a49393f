-- Counts the changes of what a customer's pushes depend on (devices, tokens), in the transaction of each change: what
-- a worker has cached at a version is right for as long as the customer is at it. No row: never changed, version 0.
-- A row stays for good, also when the customer is erased: a version that begins again would make old copies look right.
CREATE TABLE IF NOT EXISTS customer_versions (
    customer_id BIGINT NOT NULL PRIMARY KEY,
    version BIGINT UNSIGNED NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;
