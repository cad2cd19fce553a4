// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

// Tokens that misbehave, for tests of what we observe and credit. Never deployed elsewhere.

/// @notice Moves balances and logs, but `transfer` returns nothing (as old USDT does).
contract NoReturnToken {
    event Transfer(address indexed from, address indexed to, uint256 value);

    mapping(address => uint256) public balanceOf;

    constructor(uint256 supply) {
        balanceOf[msg.sender] = supply;
    }

    function transfer(address to, uint256 value) external {
        balanceOf[msg.sender] -= value;
        balanceOf[to] += value;
        emit Transfer(msg.sender, to, value);
    }
}

/// @notice `transfer` answers false instead of reverting: status 1, no log, nothing moved.
contract ReturnsFalseToken {
    mapping(address => uint256) public balanceOf;

    function transfer(address, uint256) external pure returns (bool) {
        return false;
    }
}

/// @notice Logs a Transfer of any amount to anybody; balances never change.
contract LyingToken {
    event Transfer(address indexed from, address indexed to, uint256 value);

    mapping(address => uint256) public balanceOf;

    function transfer(address to, uint256 value) external returns (bool) {
        emit Transfer(msg.sender, to, value);
        return true;
    }

    /// @notice The same topic with four topics, as ERC-721 logs it.
    function lieLikeNft(address to, uint256 id) external {
        bytes32 topic = keccak256("Transfer(address,address,uint256)");
        assembly {
            log4(0, 0, topic, caller(), to, id)
        }
    }

    /// @notice Three topics, but the recipient's word has more than an address in it.
    function lieWithDirtyTopic(address to, uint256 value) external {
        bytes32 topic = keccak256("Transfer(address,address,uint256)");
        assembly {
            mstore(0, value)
            log3(0, 32, topic, caller(), or(to, shl(160, 1)))
        }
    }

    /// @notice Three topics and data of the wrong length.
    function lieWithShortData(address to, uint256 value) external {
        bytes32 topic = keccak256("Transfer(address,address,uint256)");
        assembly {
            mstore(0, value)
            log3(0, 31, topic, caller(), to)
        }
    }
}

/// @notice Logs first, then reverts: the log must vanish with the transaction.
contract RevertingToken {
    event Transfer(address indexed from, address indexed to, uint256 value);

    function transfer(address to, uint256 value) external returns (bool) {
        emit Transfer(msg.sender, to, value);
        revert("RevertingToken: no");
    }
}

/// @notice Answers every read with an EIP-3668 order to fetch a URL (CVE-2026-40072).
contract OffchainLookupToken {
    error OffchainLookup(
        address sender,
        string[] urls,
        bytes callData,
        bytes4 callbackFunction,
        bytes extraData
    );

    string private _url;

    constructor(string memory url) {
        _url = url;
    }

    function decimals() external view returns (uint8) {
        string[] memory urls = new string[](1);
        urls[0] = _url;
        revert OffchainLookup(address(this), urls, "", this.decimals.selector, "");
    }
}

/// @notice Calls `transfer` of another token many times in one transaction.
contract ManyTransfers {
    function spray(address token, address to, uint256 value, uint256 times) external {
        for (uint256 i = 0; i < times; i++) {
            (bool ok, ) = token.call(
                abi.encodeWithSignature("transfer(address,uint256)", to, value)
            );
            require(ok, "ManyTransfers: inner call failed");
        }
    }

    /// @notice Pays the native coin from inside a contract: no top-level transfer shows it.
    function payInside(address payable to) external payable {
        (bool ok, ) = to.call{value: msg.value}("");
        require(ok, "ManyTransfers: payment refused");
    }
}
