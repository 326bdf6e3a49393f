-- Expo's tickets whose receipts are outstanding: a row goes when its receipt is recorded, or given up after 23 hours.
-- Not a column of notification_deliveries: its index would have an entry for every push that went through FCM.
CREATE TABLE IF NOT EXISTS expo_tickets (
    notification_id BINARY(16) NOT NULL,
    registration_id BIGINT UNSIGNED NOT NULL COMMENT 'customer_push_tokens.id',
    ticket_id VARCHAR(255) NOT NULL COMMENT 'notification_deliveries.provider_id, unless it was sent again since',
    accepted_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    due_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) COMMENT 'if still here then, no queue knows it any more: ask again',
    PRIMARY KEY (notification_id, registration_id),
    KEY due (due_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;
