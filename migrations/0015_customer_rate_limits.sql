-- What is left of each customer's budgets of notifications (RATE_LIMIT_PER_CUSTOMER): one moment says it all, the one at
-- which the budget is full again. No row: it is full. A row is taken in the transaction that accepts the notifications,
-- so that all replicas count together; the moments are by the database's clock.
CREATE TABLE IF NOT EXISTS customer_rate_limits (
    customer_id BIGINT NOT NULL,
    budget TINYINT UNSIGNED NOT NULL COMMENT '0: what is sent; 1: booking events; 2: booking events of high priority',
    full_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    PRIMARY KEY (customer_id, budget),
    KEY full_at (full_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;
