-- The booking backend's table, where it shares its database with us; else a stand-in with what we need.
CREATE TABLE IF NOT EXISTS customers (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(200) NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- One row is one device of one customer. No foreign key to customers: see README.md.
--
-- A token is alive when it is there, its *_dead_at is NULL and the row is_active. The hashes are SHA-256 of the
-- token, computed by the program; they make a token belong to one row, hence to one customer, at a time.
CREATE TABLE IF NOT EXISTS customer_push_tokens (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    customer_id BIGINT NOT NULL,
    device_id VARCHAR(191) CHARACTER SET ascii COLLATE ascii_bin NULL COMMENT 'the app''s own name for the device',
    platform ENUM('android', 'ios', 'web') NOT NULL,
    fcm_token VARCHAR(500) CHARACTER SET ascii COLLATE ascii_bin NULL,
    fcm_token_hash BINARY(32) NULL,
    fcm_dead_at TIMESTAMP(3) NULL DEFAULT NULL COMMENT 'switched off: reported dead, or unregistered',
    expo_push_token VARCHAR(500) CHARACTER SET ascii COLLATE ascii_bin NULL,
    expo_token_hash BINARY(32) NULL,
    expo_dead_at TIMESTAMP(3) NULL DEFAULT NULL COMMENT 'switched off: reported dead, or unregistered',
    is_active BOOLEAN NOT NULL DEFAULT TRUE COMMENT 'some token is alive',
    registered_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) COMMENT 'when the app last registered it',
    created_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    updated_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
    UNIQUE KEY customer_device (customer_id, device_id),
    UNIQUE KEY fcm_token_once (fcm_token_hash),
    UNIQUE KEY expo_token_once (expo_token_hash)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;
