// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

// Accounts without a key of their own, as sign-in meets them. Tests only.

/// @notice A wallet that is a contract: what its owner's key signed is its own signature (EIP-1271).
contract ContractWallet {
    address public immutable owner;

    constructor(address owner_) {
        owner = owner_;
    }

    receive() external payable {}

    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        if (signature.length != 65) return 0xffffffff;
        address signer = ecrecover(
            hash,
            uint8(signature[64]),
            bytes32(signature[:32]),
            bytes32(signature[32:64])
        );
        return signer != address(0) && signer == owner ? this.isValidSignature.selector : bytes4(0xffffffff);
    }

    /// @notice The owner sends coins or calls a contract from here.
    function execute(address to, uint256 value, bytes calldata data) external returns (bytes memory) {
        require(msg.sender == owner, "not the owner");
        (bool done, bytes memory answer) = to.call{value: value}(data);
        require(done, "refused");
        return answer;
    }
}

/// @notice Answers every call with what it was asked: begins like a yes and is none.
contract EchoWallet {
    fallback(bytes calldata asked) external returns (bytes memory) {
        return asked;
    }
}

/// @notice Says yes, and a little more in the same word.
contract WordyWallet {
    fallback(bytes calldata) external returns (bytes memory) {
        return abi.encode(bytes32(hex"1626ba7e") | bytes32(uint256(1)));
    }
}

/// @notice Never comes to an end.
contract EndlessWallet {
    fallback() external {
        for (uint256 i = 0; ; ++i) assembly { mstore(0, i) }
    }
}

/// @notice Answers with as much as its gas allows.
contract FloodWallet {
    fallback() external {
        assembly { return(0, 900000) }
    }
}
